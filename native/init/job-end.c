/* The end of jobs: killed, reaped, swept, and answered with their one cause. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "jobs.h"

/* While the killed are dying: SIGCHLD tells of our own children, the clock of those that others reap. */
#define SWEEP_MIN_NS (1 * NS_PER_MS)
#define SWEEP_MAX_NS (50 * NS_PER_MS)

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
  release_job(job);
}

bool no_process_left(void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD;
}

static uint32_t kill_rest(const struct job *job) {
  if (job->kit.fds[OSB_KIT_PROCS] >= 0) return (uint32_t)kill_kit(&job->kit);
  return (uint32_t)kill_descendants(job->pid, job_count == 1 && copies_under_way() == 0);
}

void sweep_job(struct job *job) {
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

void end_job(struct job *job, uint32_t cause) {
  if (job->state != RUNNING) return;
  job->cause = cause;
  begin_killing(job);
  /* By itself too: it may not have entered its cgroup yet. Not reaped, so the pid is still its own. */
  kill(job->pid, SIGKILL);
  sweep_job(job);
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
    for (uint32_t i = 0; i < job_high_water; i++) {
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
  for (uint32_t i = 0; i < job_high_water; i++)
    if (jobs[i].state == KILLING) sweep_job(&jobs[i]);
}
