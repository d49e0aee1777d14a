/* The clock of jobs: limits that init keeps, and the pace of sweeping. */
#define _GNU_SOURCE
#include <sched.h>

#include "jobs.h"

/* CPU time and OOM kills are looked at when the CPU limit could be reached at the earliest, but not more
 * often than is worth a wake-up, and often enough to notice an OOM kill of a child soon. */
#define LOOK_MIN_NS (1 * NS_PER_MS)
#define LOOK_MAX_NS (100 * NS_PER_MS)
static int64_t cpu_count = 1;

void init_job_clock(void) {
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) cpu_count = CPU_COUNT(&cpus);
}

static bool watched(const struct job *job) {
  return job->kit.fds[OSB_KIT_MEM_EVENTS] >= 0 || (job->cpu_limit_ns && job->kit.fds[OSB_KIT_CPU] >= 0);
}

void plan_look(struct job *job, int64_t now, uint64_t cpu_ns) {
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
  for (uint32_t i = 0; i < job_high_water; i++) {
    struct job *job = &jobs[i];
    if (job->state == KILLING && now >= job->next_sweep) sweep_job(job);
    if (job->state == RUNNING && now >= job->wall_deadline) end_job(job, OSB_CAUSE_WALL_LIMIT);
    if (job->state == RUNNING && now >= job->next_look) look(job, now);
  }
}

int64_t next_tick(void) {
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < job_high_water; i++) {
    const struct job *job = &jobs[i];
    if (job->state == FREE) continue;
    int64_t at = job->state == KILLING                 ? job->next_sweep
                 : job->wall_deadline < job->next_look ? job->wall_deadline
                                                       : job->next_look;
    if (at < next) next = at;
  }
  return next;
}
