/* The builder thread: jobs in the order urgent (somebody waits for a command to start), later, delayed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

int64_t osb_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void push(struct osb_engine *engine, struct osb_job *job, enum osb_urgency urgency) {
  pthread_mutex_lock(&engine->lock);
  job->next = NULL;
  *engine->tails[urgency] = job;
  engine->tails[urgency] = &job->next;
  pthread_cond_signal(&engine->work);
  pthread_mutex_unlock(&engine->lock);
}

void osb_job_push(struct osb_engine *engine, struct osb_job *job, enum osb_urgency urgency) {
  push(engine, job, urgency);
}

void osb_job_push_delayed(struct osb_engine *engine, struct osb_job *job, int64_t delay_ms) {
  job->due_ms = osb_now_ms() + delay_ms;
  push(engine, job, OSB_DELAYED);
}

static struct osb_job *pop(struct osb_engine *engine, enum osb_urgency urgency) {
  struct osb_job *job = engine->queues[urgency];
  if (!job) return NULL;
  engine->queues[urgency] = job->next;
  if (!job->next) engine->tails[urgency] = &engine->queues[urgency];
  return job;
}

/* Delayed jobs are few: retries of what is nearly always done at once. `next_due_ms`: of those not due. */
static struct osb_job *pop_due(struct osb_engine *engine, int64_t *next_due_ms) {
  int64_t now = osb_now_ms();
  for (struct osb_job **at = &engine->queues[OSB_DELAYED]; *at; at = &(*at)->next) {
    struct osb_job *job = *at;
    if (job->due_ms > now) {
      if (job->due_ms < *next_due_ms) *next_due_ms = job->due_ms;
      continue;
    }
    *at = job->next;
    if (!job->next) engine->tails[OSB_DELAYED] = at;
    return job;
  }
  return NULL;
}

/* NULL when the engine is closing and nothing is left to do. */
static struct osb_job *next_job(struct osb_engine *engine) {
  for (;;) {
    int64_t next_due_ms = INT64_MAX;
    struct osb_job *job = pop(engine, OSB_URGENT);
    if (!job && engine->queues[OSB_DELAYED]) job = pop_due(engine, &next_due_ms);
    if (!job) job = pop(engine, OSB_LATER);
    if (job) return job;
    if (engine->closing && engine->nsandboxes == 0 && !engine->queues[OSB_DELAYED]) return NULL;
    if (next_due_ms == INT64_MAX) {
      pthread_cond_wait(&engine->work, &engine->lock);
    } else {
      struct timespec until = {next_due_ms / 1000, next_due_ms % 1000 * 1000000};
      pthread_cond_timedwait(&engine->work, &engine->lock, &until);
    }
  }
}

static void stop_io(struct osb_engine *engine) {
  pthread_mutex_lock(&engine->lock);
  engine->stop_io = true;
  pthread_mutex_unlock(&engine->lock);
  uint64_t one = 1;
  (void)!write(engine->wake, &one, sizeof one);
  pthread_join(engine->io, NULL);
}

void *osb_builder_main(void *argument) {
  struct osb_engine *engine = argument;
  pthread_setname_np(pthread_self(), "osb-builder");
  pthread_mutex_lock(&engine->lock);
  for (struct osb_job *job; (job = next_job(engine));) {
    pthread_mutex_unlock(&engine->lock);
    job->run(job);
    pthread_mutex_lock(&engine->lock);
  }
  struct osb_waiter *closing = engine->closing;
  pthread_mutex_unlock(&engine->lock);
  stop_io(engine);
  struct osb_error error;
  int result = osb_cgroups_close(&engine->cgroups, &error);
  closing->done(closing->context, result < 0 ? &error : NULL);
  return NULL;
}
