/* The start of jobs: from an EXEC to a child under way, or to a refusal. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jobs.h"

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
  struct job *job = vacant_job();
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
  release_job(job);
}
