/* The table of jobs. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "jobs.h"

struct job jobs[OSB_MAX_JOBS];
static struct exec_failure *failures; /* one for each job, written by its child */
uint32_t job_high_water;
uint32_t job_count;

int init_jobs(void) {
  failures =
      mmap(NULL, sizeof *failures * OSB_MAX_JOBS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return failures == MAP_FAILED ? -1 : 0;
}

struct exec_failure *failure_of(const struct job *job) { return &failures[job - jobs]; }

struct job *find_job(uint64_t id) {
  for (uint32_t i = 0; i < job_high_water; i++)
    if (jobs[i].state != FREE && jobs[i].id == id) return &jobs[i];
  return NULL;
}

struct job *vacant_job(void) {
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++)
    if (jobs[i].state == FREE) {
      if (i >= job_high_water) job_high_water = i + 1;
      return &jobs[i];
    }
  return NULL;
}

void release_job(struct job *job) {
  close_kit(&job->kit);
  job->state = FREE;
  job_count--;
  while (job_high_water > 0 && jobs[job_high_water - 1].state == FREE) job_high_water--;
}
