/*
 * Jobs: the commands under way. A job is RUNNING until its main process is reaped or a limit or KILL ends it,
 * then KILLING until no process of it is left (or the grace is over), then it is answered with EXITED and
 * gone. Jobs know nothing of each other.
 */
#ifndef OSB_INIT_JOBS_H
#define OSB_INIT_JOBS_H

#include "init.h"

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

/* ---- job-table.c ---- */
extern struct job jobs[OSB_MAX_JOBS];
extern uint32_t job_high_water; /* slots from here on are FREE */
extern uint32_t job_count;
/* Where the job's child failed; written by the child. */
struct exec_failure *failure_of(const struct job *job);
/* NULL: there is none. */
struct job *find_job(uint64_t id);
struct job *vacant_job(void);
void release_job(struct job *job);

/* ---- job-end.c ---- */
/* Ends a RUNNING job for `cause`. */
void end_job(struct job *job, uint32_t cause);
/* Kills what is left of a KILLING job and finishes it when that is nothing. */
void sweep_job(struct job *job);
/* Everything in our pid namespace descends from us: without a child there is no process at all. */
bool no_process_left(void);

/* ---- job-clock.c ---- */
/* When limits are to be looked at next, for a job that has used `cpu_ns`. */
void plan_look(struct job *job, int64_t now, uint64_t cpu_ns);

#endif
