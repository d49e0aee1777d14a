/* The end of a sandbox, on builder: its init is dead and with it every process of the pid namespace; mounts, network
 * and ids went with the namespaces. What is left are promises to callers, descriptors and cgroups. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "internal.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
/* 1, 2, 4 … 64, 64 ms …: about 2 s for the kernel to let go of the last process. */
#define MAX_REMOVE_TRIES 36
#define MAX_REMOVE_DELAY_MS 64

/* An init that ended by itself says by its status why. */
static void say_why(struct osb_sandbox *sandbox, const siginfo_t *info) {
  if (info->si_code == CLD_EXITED)
    snprintf(sandbox->reason, sizeof sandbox->reason, "init exited with status %d", info->si_status);
  else
    snprintf(sandbox->reason, sizeof sandbox->reason, "init was killed by signal %d", info->si_status);
}

static void reap(struct osb_sandbox *sandbox) {
  if (sandbox->pidfd.fd < 0) return; /* was never started */
  siginfo_t info = {0};
  int result;
  do result = waitid(P_PIDFD, (id_t)sandbox->pidfd.fd, &info, WEXITED | WNOHANG | __WALL);
  while (result < 0 && errno == EINTR);
  if (result < 0) osb_fail(&sandbox->leak, errno, "wait for init");
  else if (info.si_pid == 0) osb_fail(&sandbox->leak, ETIMEDOUT, "init did not end within %d ms", OSB_DEATH_MS);
  else if (sandbox->ended_by_itself) say_why(sandbox, &info);
}

/* Init cannot tell any more what a command has used, but its cgroup is still there. */
static void end_run(struct osb_run *run, char *text) {
  struct osb_sandbox *sandbox = run->sandbox;
  run->outcome.cause = OSB_CAUSE_SESSION_ENDED;
  run->outcome.text = text;
  run->outcome.wall_us = (uint64_t)(osb_now_ms() - run->started_ms) * 1000;
  if (!run->kit) return;
  char path[OSB_CGROUP_PATH];
  osb_kit_path(sandbox, run->kit, path);
  osb_cgroup_usage(&sandbox->engine->cgroups, path, &run->outcome.cpu_us, &run->outcome.memory_peak_bytes);
}

static void end_promises(struct osb_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  struct osb_run *runs = sandbox->runs;
  struct osb_call *calls = sandbox->calls;
  osb_created *created = sandbox->created;
  sandbox->runs = NULL;
  sandbox->calls = NULL;
  sandbox->created = NULL;
  for (struct osb_run *run = runs; run; run = run->next) osb_run_drain_locked(run);
  osb_watch_close(&sandbox->socket);
  osb_watch_close(&sandbox->pidfd);
  pthread_mutex_unlock(&sandbox->lock);
  char text[OSB_ERROR_TEXT + 32];
  snprintf(text, sizeof text, "%s%s", sandbox->destroyed ? "" : "sandbox lost: ", sandbox->reason);
  for (struct osb_run *run = runs; run; run = run->next) end_run(run, text);
  osb_runs_deliver(runs);
  while (calls) {
    struct osb_call *next = calls->next;
    osb_call_fail(calls, EPIPE, text);
    calls = next;
  }
  if (created) {
    if (!sandbox->create_error.code) osb_fail(&sandbox->create_error, ECANCELED, "%s", sandbox->reason);
    created(sandbox->created_context, &sandbox->create_error, 0);
  } else if (!sandbox->destroyed && sandbox->engine->on_lost) {
    sandbox->engine->on_lost(sandbox->engine->context, sandbox->handle, sandbox->reason);
  }
}

/* Only builder touches spares and leaving now: kits are not made any more, and runs are over. */
static int remove_cgroups(struct osb_sandbox *sandbox, struct osb_error *error) {
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  if (!cgroups->driver) return 0;
  pthread_mutex_lock(&sandbox->lock);
  struct osb_kit_entry *lists[] = {sandbox->spares, sandbox->leaving}, *busy = NULL;
  sandbox->spares = sandbox->leaving = NULL;
  for (struct osb_kit_entry *kit = lists[0]; kit; kit = kit->next) osb_kit_close(kit);
  pthread_mutex_unlock(&sandbox->lock);
  char path[OSB_CGROUP_PATH];
  for (int i = 0; i < 2; i++)
    for (struct osb_kit_entry *kit = lists[i], *next; kit; kit = next) {
      next = kit->next;
      osb_kit_path(sandbox, kit, path);
      if (osb_cgroup_remove(cgroups, path, error) == 0) {
        free(kit);
        continue;
      }
      kit->next = busy;
      busy = kit;
    }
  pthread_mutex_lock(&sandbox->lock);
  struct osb_kit_entry **tail = &sandbox->leaving;
  while (*tail) tail = &(*tail)->next;
  *tail = busy;
  pthread_mutex_unlock(&sandbox->lock);
  if (busy) return -1;
  if (cgroups->driver->init_leaf) {
    snprintf(path, sizeof path, "%s/%s", sandbox->path, cgroups->driver->init_leaf);
    if (osb_cgroup_remove(cgroups, path, error) < 0) return -1;
  }
  return osb_cgroup_remove(cgroups, sandbox->path, error);
}

static void free_queue(struct osb_sandbox *sandbox) {
  while (sandbox->queue) {
    struct osb_message *next = sandbox->queue->next;
    osb_message_free(sandbox->queue);
    sandbox->queue = next;
  }
  osb_message_free(sandbox->setup);
  while (sandbox->leaving) { /* what could not be removed and was told */
    struct osb_kit_entry *next = sandbox->leaving->next;
    free(sandbox->leaving);
    sandbox->leaving = next;
  }
}

static void finish(struct osb_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  sandbox->state = OSB_GONE;
  struct osb_waiter *waiters = sandbox->waiters;
  sandbox->waiters = NULL;
  free_queue(sandbox);
  pthread_mutex_unlock(&sandbox->lock);
  while (waiters) {
    struct osb_waiter *next = waiters->next;
    waiters->done(waiters->context, sandbox->leak.code ? &sandbox->leak : NULL);
    free(waiters);
    waiters = next;
  }
  osb_table_remove(sandbox);
}

/* Runs again, later, while the kernel has not let go of the last process. The table's count keeps the sandbox. */
void osb_teardown(struct osb_job *job) {
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, teardown_job));
  if (sandbox->remove_tries == 0) {
    reap(sandbox);
    end_promises(sandbox);
  }
  struct osb_error error;
  if (remove_cgroups(sandbox, &error) < 0) {
    if (++sandbox->remove_tries < MAX_REMOVE_TRIES) {
      int64_t delay_ms = sandbox->remove_tries < 7 ? 1 << (sandbox->remove_tries - 1) : MAX_REMOVE_DELAY_MS;
      osb_job_push_delayed(sandbox->engine, &sandbox->teardown_job, delay_ms);
      return;
    }
    if (!sandbox->leak.code) sandbox->leak = error;
  }
  finish(sandbox);
}
