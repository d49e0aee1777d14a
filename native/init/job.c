/*
 * Jobs: the commands under way. A job is RUNNING until its main process is reaped or a limit or KILL ends it,
 * then KILLING until no process of it is left (or the grace is over), then it is answered with EXITED and
 * gone. Jobs know nothing of each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

/* CPU time and OOM kills are looked at when the CPU limit could be reached at the earliest, but not more
 * often than is worth a wake-up, and often enough to notice an OOM kill of a child soon. */
#define LOOK_MIN_NS (1 * NS_PER_MS)
#define LOOK_MAX_NS (100 * NS_PER_MS)
/* While the killed are dying: SIGCHLD tells of our own children, the clock of those that others reap. */
#define SWEEP_MIN_NS (1 * NS_PER_MS)
#define SWEEP_MAX_NS (50 * NS_PER_MS)

enum state { FREE = 0, RUNNING, KILLING };

struct job {
  uint64_t id;
  enum state state;
  pid_t pid;
  bool reaped; /* the main process */
  int status;
  struct rusage usage; /* of the main process and what it waited for */
  struct kit kit;
  uint32_t cause; /* enum osb_cause that init or KILL ended it for; 0 = by itself */
  uint64_t cpu_limit_ns;
  int64_t started, wall_deadline, next_look;
  int64_t kill_deadline, next_sweep, sweep_interval;
};

static struct job jobs[OSB_MAX_JOBS];
static struct exec_failure *failures; /* one for each job, written by its child */
static uint32_t high_water;           /* slots above are FREE */
static uint32_t job_count;
static int64_t cpu_count = 1;

int init_jobs(void) {
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) cpu_count = CPU_COUNT(&cpus);
  failures =
      mmap(NULL, sizeof *failures * OSB_MAX_JOBS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return failures == MAP_FAILED ? -1 : 0;
}

static struct exec_failure *failure_of(const struct job *job) { return &failures[job - jobs]; }

static struct job *find_job(uint64_t id) {
  for (uint32_t i = 0; i < high_water; i++)
    if (jobs[i].state != FREE && jobs[i].id == id) return &jobs[i];
  return NULL;
}

static struct job *free_slot(void) {
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++)
    if (jobs[i].state == FREE) {
      if (i >= high_water) high_water = i + 1;
      return &jobs[i];
    }
  return NULL;
}

static void release(struct job *job) {
  close_kit(&job->kit);
  job->state = FREE;
  job_count--;
  while (high_water > 0 && jobs[high_water - 1].state == FREE) high_water--;
}

/* ---- The end ---- */

static uint64_t microseconds(const struct timeval *time) {
  return (uint64_t)time->tv_sec * 1000000u + (uint64_t)time->tv_usec;
}

static uint64_t cpu_ns_of(const struct job *job) {
  uint64_t cpu_ns;
  if (kit_cpu_ns(&job->kit, &cpu_ns)) return cpu_ns;
  return (microseconds(&job->usage.ru_utime) + microseconds(&job->usage.ru_stime)) * 1000;
}

/* Exactly one cause: what ended it from here first, then what the kernel ended it for, then what it did
 * itself. */
static uint32_t cause_of(const struct job *job, uint64_t cpu_ns) {
  if (job->cause) return job->cause;
  if (kit_oom_kills(&job->kit) > 0) return OSB_CAUSE_MEMORY_LIMIT;
  if (failure_of(job)->stage) return OSB_CAUSE_EXEC_FAILED;
  int signal = job->reaped && WIFSIGNALED(job->status) ? WTERMSIG(job->status) : 0;
  bool over = job->cpu_limit_ns && cpu_ns >= job->cpu_limit_ns;
  if (over && (signal == SIGXCPU || signal == SIGKILL)) return OSB_CAUSE_CPU_LIMIT;
  return signal ? OSB_CAUSE_SIGNALED : OSB_CAUSE_EXITED;
}

static void finish(struct job *job, uint32_t leftover) {
  uint64_t cpu_ns = cpu_ns_of(job);
  struct osb_exited exited = {
      .cause = cause_of(job, cpu_ns),
      .exit_code = -1,
      .leftover = leftover,
      .cpu_us = cpu_ns / 1000,
      .wall_us = (uint64_t)(now_ns() - job->started) / 1000,
      .memory_peak_bytes = kit_memory_peak(&job->kit),
  };
  if (exited.memory_peak_bytes == 0) exited.memory_peak_bytes = (uint64_t)job->usage.ru_maxrss * 1024;
  if (exited.cause == OSB_CAUSE_EXEC_FAILED) {
    exited.stage = failure_of(job)->stage;
    exited.error = failure_of(job)->error;
  } else if (job->reaped) {
    if (WIFEXITED(job->status)) exited.exit_code = WEXITSTATUS(job->status);
    if (WIFSIGNALED(job->status)) exited.signal = WTERMSIG(job->status);
  }
  send_packet(OSB_EXITED, job->id, &exited, sizeof exited, -1);
  release(job);
}

/* Everything in our pid namespace descends from us: without a child there is no process at all. */
static bool no_process_left(void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD;
}

static uint32_t kill_rest(const struct job *job) {
  if (job->kit.fds[OSB_KIT_PROCS] >= 0) return (uint32_t)kill_kit(&job->kit);
  return (uint32_t)kill_descendants(job->pid, job_count == 1 && copies_under_way() == 0);
}

/* Kills what is left of the job and finishes it when that is nothing. */
static void sweep(struct job *job) {
  uint32_t left = 0;
  if (!job->reaped || !no_process_left()) {
    left = kill_rest(job);
    if (!job->reaped && left == 0) left = 1;
  }
  int64_t now = now_ns();
  if (left == 0 || now >= job->kill_deadline) {
    finish(job, left);
    return;
  }
  job->next_sweep = now + job->sweep_interval;
  if (job->next_sweep > job->kill_deadline) job->next_sweep = job->kill_deadline;
  job->sweep_interval *= 2;
  if (job->sweep_interval > SWEEP_MAX_NS) job->sweep_interval = SWEEP_MAX_NS;
}

static void begin_killing(struct job *job) {
  job->state = KILLING;
  job->kill_deadline = now_ns() + OSB_KILL_GRACE_MS * NS_PER_MS;
  job->sweep_interval = SWEEP_MIN_NS;
  job->next_sweep = 0;
}

static void end_job(struct job *job, uint32_t cause) {
  if (job->state != RUNNING) return;
  job->cause = cause;
  begin_killing(job);
  /* By itself too: it may not have entered its cgroup yet. Not reaped, so the pid is still its own. */
  kill(job->pid, SIGKILL);
  sweep(job);
}

void kill_job(struct packet *packet) {
  struct reader rest;
  const struct osb_kill *request = read_body(packet, sizeof *request, &rest);
  if (rest.at != rest.end || packet->nfds != 0) end_init(OSB_INIT_PACKET);
  struct job *job = find_job(request->exec_id);
  if (job) end_job(job, request->cause); /* none: it ended while the packet was on its way */
}

void reap_children(void) {
  struct rusage usage;
  int status;
  pid_t pid;
  bool reaped = false;
  while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0) {
    reaped = true;
    if (reap_copy(pid, status)) continue;
    for (uint32_t i = 0; i < high_water; i++) {
      struct job *job = &jobs[i];
      if (job->state == FREE || job->reaped || job->pid != pid) continue;
      job->reaped = true;
      job->status = status;
      job->usage = usage;
      if (job->state == RUNNING) begin_killing(job);
      break;
    }
  }
  if (!reaped) return;
  for (uint32_t i = 0; i < high_water; i++)
    if (jobs[i].state == KILLING) sweep(&jobs[i]);
}

/* ---- The clock ---- */

static bool watched(const struct job *job) {
  return job->kit.fds[OSB_KIT_MEM_EVENTS] >= 0 || (job->cpu_limit_ns && job->kit.fds[OSB_KIT_CPU] >= 0);
}

static void plan_look(struct job *job, int64_t now, uint64_t cpu_ns) {
  int64_t wait = LOOK_MAX_NS;
  if (job->cpu_limit_ns) {
    int64_t earliest = (int64_t)(job->cpu_limit_ns - cpu_ns) / cpu_count;
    if (earliest < wait) wait = earliest < LOOK_MIN_NS ? LOOK_MIN_NS : earliest;
  }
  job->next_look = watched(job) ? now + wait : INT64_MAX;
}

static void look(struct job *job, int64_t now) {
  if (kit_oom_kills(&job->kit) > 0) {
    end_job(job, OSB_CAUSE_MEMORY_LIMIT);
    return;
  }
  uint64_t cpu_ns = 0;
  if (job->cpu_limit_ns && kit_cpu_ns(&job->kit, &cpu_ns) && cpu_ns >= job->cpu_limit_ns) {
    end_job(job, OSB_CAUSE_CPU_LIMIT);
    return;
  }
  plan_look(job, now, cpu_ns);
}

void tick_jobs(int64_t now) {
  for (uint32_t i = 0; i < high_water; i++) {
    struct job *job = &jobs[i];
    if (job->state == KILLING && now >= job->next_sweep) sweep(job);
    if (job->state == RUNNING && now >= job->wall_deadline) end_job(job, OSB_CAUSE_WALL_LIMIT);
    if (job->state == RUNNING && now >= job->next_look) look(job, now);
  }
}

int64_t next_tick(void) {
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < high_water; i++) {
    const struct job *job = &jobs[i];
    if (job->state == FREE) continue;
    int64_t at = job->state == KILLING                 ? job->next_sweep
                 : job->wall_deadline < job->next_look ? job->wall_deadline
                                                       : job->next_look;
    if (at < next) next = at;
  }
  return next;
}

/* ---- The start ---- */

static void refuse(uint64_t id, enum osb_stage stage, int error) {
  struct osb_exited exited = {
      .cause = OSB_CAUSE_EXEC_FAILED, .stage = stage, .error = error, .exit_code = -1};
  send_packet(OSB_EXITED, id, &exited, sizeof exited, -1);
}

static uint64_t cpu_limit_ns(uint64_t cpu_ms) {
  return cpu_ms > (uint64_t)(INT64_MAX / NS_PER_MS) ? (uint64_t)INT64_MAX : cpu_ms * NS_PER_MS;
}

static int64_t deadline(int64_t now, uint64_t wall_ms) {
  if (wall_ms == 0 || wall_ms > (uint64_t)(INT64_MAX - now) / NS_PER_MS) return INT64_MAX;
  return now + (int64_t)wall_ms * NS_PER_MS;
}

/* vfork costs about 0.1 ms less than fork, and leaves init waiting for the child's exec. That is safe only
 * while no other process exists inside: a command could stop the child just then (kill(-1, SIGSTOP)), and
 * init with it, limits and all. Next to others it is a fork. (Sharing memory without waiting is no way out
 * either: the OOM killer, called by the exec's charges to a small memory cgroup, kills all who share the
 * victim's memory, unless the victim is a vfork's.) */
static int fork_command(struct job *job, const struct command *command) {
  struct exec_failure *failure = failure_of(job);
  *failure = (struct exec_failure){0};
  pid_t pid = no_process_left() ? vfork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) return errno;
  if (pid == 0) run_command(command, &job->kit, failure);
  job->pid = pid;
  return 0;
}

void start_job(struct packet *packet) {
  struct reader rest;
  const struct osb_exec *exec = read_body(packet, sizeof *exec, &rest);
  uint64_t id = packet->header.id;
  if (packet->nfds != (exec->flags & OSB_EXEC_MEMFD ? 4u : 3u) || find_job(id)) end_init(OSB_INIT_PACKET);

  struct kit kit = NO_KIT;
  struct command command;
  struct job *job = free_slot();
  /* First of all: a kit goes with its EXEC, also one that is refused. */
  bool no_kit = exec->kit != 0 && !take_kit(exec->kit, &kit);
  int error = parse_command(packet, exec, rest, &command);
  if (error == 0 && no_kit) error = ENOENT;
  if (error == 0 && !job) error = EAGAIN;
  if (error != 0) {
    refuse(id, OSB_STAGE_REQUEST, error);
    close_kit(&kit);
    free_command(&command);
    return;
  }
  int64_t now = now_ns();
  *job = (struct job){.id = id,
                      .kit = kit,
                      .cpu_limit_ns = cpu_limit_ns(exec->cpu_ms),
                      .started = now,
                      .wall_deadline = deadline(now, exec->wall_ms)};
  plan_look(job, now, 0);
  error = fork_command(job, &command);
  free_command(&command);
  job->state = RUNNING;
  job_count++;
  if (error == 0) return;
  refuse(id, OSB_STAGE_FORK, error);
  release(job);
}
