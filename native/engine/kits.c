/*
 * Kits: cgroups of commands to come, made ahead by `builder` so that a run pays only for entering one. When a run has
 * taken the spare, the next is made while it runs. A kit is used once: its peak and OOM counters, and what is charged
 * to it (files that the command wrote into the sandbox's memory), belong to one command. Then it is removed, behind
 * whatever is more urgent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

/* A dying process leaves its cgroup shortly after its parent has seen it die: 1, 2, 4 … 512 ms, 1 s in all. */
#define MAX_REMOVE_TRIES 10

void osb_kit_path(const struct osb_sandbox *sandbox, const struct osb_kit_entry *kit, char path[OSB_CGROUP_PATH]) {
  snprintf(path, OSB_CGROUP_PATH, "%s/r%u", sandbox->path, kit->number);
}

static bool wanted_locked(const struct osb_sandbox *sandbox) {
  bool alive = sandbox->state == OSB_IS_READY || sandbox->state == OSB_CREATING;
  return alive && sandbox->socket.fd >= 0 && sandbox->nspares < sandbox->nwaiting + OSB_SPARE_KITS;
}

void osb_kits_want_locked(struct osb_sandbox *sandbox) {
  if (!sandbox->engine->cgroups.driver || sandbox->making_kits || !wanted_locked(sandbox)) return;
  sandbox->making_kits = true;
  osb_sandbox_hold(sandbox);
  osb_job_push(sandbox->engine, &sandbox->kit_job, OSB_URGENT);
}

static void clean_locked(struct osb_sandbox *sandbox, int64_t delay_ms) {
  if (sandbox->cleaning || sandbox->tearing_down) return; /* teardown removes all kits itself */
  sandbox->cleaning = true;
  osb_sandbox_hold(sandbox);
  if (delay_ms > 0) osb_job_push_delayed(sandbox->engine, &sandbox->clean_job, delay_ms);
  else osb_job_push(sandbox->engine, &sandbox->clean_job, OSB_LATER);
}

void osb_kit_discard_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit) {
  kit->next = sandbox->leaving;
  sandbox->leaving = kit;
}

void osb_kits_clean_soon_locked(struct osb_sandbox *sandbox) {
  if (sandbox->leaving) clean_locked(sandbox, 0);
}

/* The directory and the packet that makes it known to init. */
static struct osb_message *make_one(struct osb_sandbox *sandbox, struct osb_kit_entry *kit, struct osb_error *error) {
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  char path[OSB_CGROUP_PATH];
  osb_kit_path(sandbox, kit, path);
  if (osb_cgroup_make(cgroups, path, &kit->limits, error) < 0) return NULL;
  struct osb_kit body = {.kit = kit->number, .kind = cgroups->driver->kind};
  int fds[OSB_KIT_FDS];
  int nfds = osb_cgroup_open_kit(cgroups, path, fds, &body.present, error);
  if (nfds < 0) {
    struct osb_error ignored; /* the first error is the one to tell */
    osb_cgroup_remove(cgroups, path, &ignored);
    return NULL;
  }
  struct osb_message *message = osb_message_new(OSB_KIT, &body, sizeof body, 0);
  for (int i = 0; i < nfds; i++) message->fds[message->nfds++] = fds[i];
  return message;
}

static struct osb_kit_entry *next_kit_locked(struct osb_sandbox *sandbox) {
  struct osb_kit_entry *kit = calloc(1, sizeof *kit);
  if (!kit) abort();
  /* 0 says "no kit". */
  if (++sandbox->last_kit == 0) sandbox->last_kit = 1;
  kit->number = sandbox->last_kit;
  struct osb_run *run = osb_run_first_waiting_locked(sandbox);
  kit->limits = run ? run->limits : sandbox->usual;
  return kit;
}

/* Starts the run that has waited longest, or keeps the kit. Returns a run that could not be started. */
static struct osb_run *use_kit_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit,
                                      struct osb_message *message) {
  osb_send_locked(sandbox, message, ++sandbox->last_id);
  struct osb_run *run = sandbox->state == OSB_IS_READY ? osb_run_first_waiting_locked(sandbox) : NULL;
  if (!run) {
    kit->next = sandbox->spares;
    sandbox->spares = kit;
    sandbox->nspares++;
    return NULL;
  }
  if (osb_run_start_locked(run, kit)) return NULL;
  osb_run_unlink_locked(run);
  osb_run_close_streams_locked(run);
  return run;
}

/* A waiting run is told why; without one, the next run will try again and be told. */
static struct osb_run *fail_waiting_locked(struct osb_sandbox *sandbox, const struct osb_error *error) {
  struct osb_run *run = osb_run_first_waiting_locked(sandbox);
  if (!run) return NULL;
  run->error = *error;
  osb_run_unlink_locked(run);
  osb_run_close_streams_locked(run);
  return run;
}

void osb_kits_make(struct osb_job *job) {
  struct osb_sandbox *sandbox =
      (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, kit_job));
  pthread_mutex_lock(&sandbox->lock);
  while (wanted_locked(sandbox)) {
    struct osb_kit_entry *kit = next_kit_locked(sandbox);
    pthread_mutex_unlock(&sandbox->lock);
    struct osb_error error = {0};
    struct osb_message *message = make_one(sandbox, kit, &error);
    pthread_mutex_lock(&sandbox->lock);
    bool hopeless = !message && sandbox->nwaiting == 0;
    struct osb_run *failed =
        message ? use_kit_locked(sandbox, kit, message) : fail_waiting_locked(sandbox, &error);
    if (!message) free(kit);
    pthread_mutex_unlock(&sandbox->lock);
    osb_runs_deliver(failed);
    pthread_mutex_lock(&sandbox->lock);
    if (hopeless) break;
  }
  sandbox->making_kits = false;
  pthread_mutex_unlock(&sandbox->lock);
  osb_sandbox_drop(sandbox);
}

/* One pass over the kits that leave. Those that are still busy stay, and after MAX_REMOVE_TRIES wait for teardown. */
void osb_kits_clean(struct osb_job *job) {
  struct osb_sandbox *sandbox =
      (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, clean_job));
  pthread_mutex_lock(&sandbox->lock);
  struct osb_kit_entry *kits = sandbox->leaving, *busy = NULL;
  sandbox->leaving = NULL;
  pthread_mutex_unlock(&sandbox->lock);
  uint32_t fewest = MAX_REMOVE_TRIES;
  while (kits) {
    struct osb_kit_entry *kit = kits;
    kits = kit->next;
    char path[OSB_CGROUP_PATH];
    osb_kit_path(sandbox, kit, path);
    struct osb_error error;
    bool stuck = kit->tries >= MAX_REMOVE_TRIES;
    if (!stuck && osb_cgroup_remove(&sandbox->engine->cgroups, path, &error) == 0) {
      free(kit);
      continue;
    }
    if (!stuck && kit->tries < fewest) fewest = kit->tries;
    kit->tries += !stuck;
    kit->next = busy;
    busy = kit;
  }
  pthread_mutex_lock(&sandbox->lock);
  bool more = sandbox->leaving != NULL;
  struct osb_kit_entry **tail = &sandbox->leaving;
  while (*tail) tail = &(*tail)->next;
  *tail = busy;
  sandbox->cleaning = false;
  if (more) clean_locked(sandbox, 1);
  else if (fewest < MAX_REMOVE_TRIES) clean_locked(sandbox, 1 << fewest);
  pthread_mutex_unlock(&sandbox->lock);
  osb_sandbox_drop(sandbox);
}
