/*
 * Kits: cgroups for one command at a time, with their control files open, made ahead of the commands. Making and
 * removing one takes the kernel half a millisecond in three v1 hierarchies, as much as the command itself may take; so
 * a kit whose command has left nothing behind is reset and used again. That a kit starts from 0 (peak, CPU time, OOM
 * kills) and is empty is what makes its numbers those of one command; where this cannot be had, the kit is removed by
 * `builder` and the next is made while nobody waits.
 *
 * A kit is sent to init together with the command; init closes its copies with the command's end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

/* A dying process leaves its cgroup shortly after its parent has seen it die: 1, 2, 4 … 512 ms, 1 s in all. */
#define MAX_REMOVE_TRIES 10

void osb_kit_path(const struct osb_sandbox *sandbox, const struct osb_kit_entry *kit, char path[OSB_CGROUP_PATH]) {
  snprintf(path, OSB_CGROUP_PATH, "%s/r%u", sandbox->path, kit->number);
}

/* Whether another kit is to be made. Where kits are used again, one for all idle time is enough. */
static bool wanted_locked(const struct osb_sandbox *sandbox) {
  bool alive = sandbox->state == OSB_IS_READY || sandbox->state == OSB_CREATING;
  bool reused = sandbox->engine->cgroups.driver->reset && sandbox->nspares + sandbox->nused > 0;
  return alive && sandbox->socket.fd >= 0 && sandbox->nspares < sandbox->nwaiting + (reused ? 0 : OSB_SPARE_KITS);
}

void osb_kits_want_locked(struct osb_sandbox *sandbox) {
  if (!sandbox->engine->cgroups.driver || sandbox->making_kits || !wanted_locked(sandbox)) return;
  sandbox->making_kits = true;
  osb_sandbox_hold(sandbox);
  osb_job_push(sandbox->engine, &sandbox->kit_job, OSB_URGENT);
}

/* ---- Using ---- */

static void add_spare_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit) {
  kit->next = sandbox->spares;
  sandbox->spares = kit;
  sandbox->nspares++;
}

static struct osb_kit_entry *pop_spare_locked(struct osb_sandbox *sandbox, struct osb_kit_entry **at) {
  struct osb_kit_entry *kit = *at;
  *at = kit->next;
  kit->next = NULL;
  sandbox->nspares--;
  return kit;
}

void osb_kit_close(struct osb_kit_entry *kit) {
  for (uint32_t i = 0; i < kit->nfds; i++) close(kit->fds[i]);
  kit->nfds = 0;
}

static void discard_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit) {
  osb_kit_close(kit);
  kit->next = sandbox->leaving;
  sandbox->leaving = kit;
}

struct osb_kit_entry *osb_kit_take_locked(struct osb_sandbox *sandbox, const struct osb_limits *limits) {
  bool only_new = limits->memory_bytes != 0 && limits->memory_bytes < OSB_NEW_KIT_BELOW_BYTES;
  struct osb_kit_entry **at = &sandbox->spares;
  while (*at && only_new && (*at)->used) at = &(*at)->next;
  struct osb_kit_entry *kit = *at;
  if (!kit && !sandbox->spares) return NULL;
  if (!kit) { /* only used ones: they make room for a new one */
    while (sandbox->spares) discard_locked(sandbox, pop_spare_locked(sandbox, &sandbox->spares));
    return NULL;
  }
  sandbox->nused++;
  return pop_spare_locked(sandbox, at);
}

struct osb_message *osb_kit_message(const struct osb_sandbox *sandbox, const struct osb_kit_entry *kit) {
  struct osb_kit body = {
      .kit = kit->number, .kind = sandbox->engine->cgroups.driver->kind, .present = kit->present};
  struct osb_message *message = osb_message_new(OSB_KIT, &body, sizeof body, 0);
  for (uint32_t i = 0; i < kit->nfds; i++) message->fds[i] = kit->fds[i];
  message->nfds = kit->nfds;
  message->borrowed = UINT32_MAX;
  return message;
}

bool osb_kit_reset(struct osb_sandbox *sandbox, struct osb_kit_entry *kit) {
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  struct osb_error error;
  char path[OSB_CGROUP_PATH];
  if (!cgroups->driver->reset) return false;
  osb_kit_path(sandbox, kit, path);
  return osb_cgroup_reset(cgroups, path, &kit->limits, kit->fds, kit->present, &error) == 0;
}

void osb_kit_return_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit, bool spare) {
  kit->used = true;
  sandbox->nused--;
  if (spare && sandbox->state == OSB_IS_READY && sandbox->nspares < OSB_MOST_SPARE_KITS) add_spare_locked(sandbox, kit);
  else discard_locked(sandbox, kit);
}

void osb_kits_trim_locked(struct osb_sandbox *sandbox) {
  if (sandbox->state != OSB_IS_READY || sandbox->nruns > 0) return;
  while (sandbox->nspares > OSB_SPARE_KITS) discard_locked(sandbox, pop_spare_locked(sandbox, &sandbox->spares));
  osb_kits_clean_soon_locked(sandbox);
}

/* ---- Making ---- */

static int make_one(struct osb_sandbox *sandbox, struct osb_kit_entry *kit, struct osb_error *error) {
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  char path[OSB_CGROUP_PATH];
  osb_kit_path(sandbox, kit, path);
  if (osb_cgroup_make(cgroups, path, &kit->limits, error) < 0) return -1;
  int nfds = osb_cgroup_open_kit(cgroups, path, kit->fds, &kit->present, error);
  if (nfds >= 0) {
    kit->nfds = (uint32_t)nfds;
    return 0;
  }
  struct osb_error ignored; /* the first error is the one to tell */
  osb_cgroup_remove(cgroups, path, &ignored);
  return -1;
}

static struct osb_kit_entry *next_kit_locked(struct osb_sandbox *sandbox) {
  struct osb_kit_entry *kit = calloc(1, sizeof *kit);
  if (!kit) abort();
  /* 0 says "no kit". */
  if (++sandbox->last_kit == 0) sandbox->last_kit = 1;
  kit->number = sandbox->last_kit;
  const struct osb_limits *limits = osb_run_waiting_limits_locked(sandbox);
  kit->limits = limits ? *limits : sandbox->usual;
  return kit;
}

void osb_kits_make(struct osb_job *job) {
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, kit_job));
  pthread_mutex_lock(&sandbox->lock);
  for (bool hopeless = false; !hopeless && wanted_locked(sandbox);) {
    struct osb_kit_entry *kit = next_kit_locked(sandbox);
    pthread_mutex_unlock(&sandbox->lock);
    struct osb_error error = {0};
    bool made = make_one(sandbox, kit, &error) == 0;
    if (!made) free(kit);
    pthread_mutex_lock(&sandbox->lock);
    hopeless = !made && sandbox->nwaiting == 0;
    if (made) add_spare_locked(sandbox, kit);
    /* A waiting run is told why; without one, the next run will try again and be told. */
    struct osb_run *failed = made ? osb_runs_start_locked(sandbox) : osb_run_fail_waiting_locked(sandbox, &error);
    if (!failed) continue;
    pthread_mutex_unlock(&sandbox->lock);
    osb_runs_deliver(failed);
    pthread_mutex_lock(&sandbox->lock);
  }
  sandbox->making_kits = false;
  pthread_mutex_unlock(&sandbox->lock);
  osb_sandbox_drop(sandbox);
}

/* ---- Removing ---- */

static void clean_locked(struct osb_sandbox *sandbox, int64_t delay_ms) {
  if (sandbox->cleaning || sandbox->tearing_down) return; /* teardown removes all kits itself */
  sandbox->cleaning = true;
  osb_sandbox_hold(sandbox);
  if (delay_ms > 0) osb_job_push_delayed(sandbox->engine, &sandbox->clean_job, delay_ms);
  else osb_job_push(sandbox->engine, &sandbox->clean_job, OSB_LATER);
}

void osb_kits_clean_soon_locked(struct osb_sandbox *sandbox) {
  if (sandbox->leaving) clean_locked(sandbox, 0);
}

/* Removes what can be removed; returns the rest and the fewest tries that one of it has had. */
static struct osb_kit_entry *remove_kits(struct osb_sandbox *sandbox, struct osb_kit_entry *kits, uint32_t *fewest) {
  struct osb_kit_entry *busy = NULL;
  char path[OSB_CGROUP_PATH];
  struct osb_error error;
  for (struct osb_kit_entry *kit = kits, *next; kit; kit = next) {
    next = kit->next;
    osb_kit_path(sandbox, kit, path);
    bool stuck = kit->tries >= MAX_REMOVE_TRIES;
    if (!stuck && osb_cgroup_remove(&sandbox->engine->cgroups, path, &error) == 0) {
      free(kit);
      continue;
    }
    if (!stuck && kit->tries < *fewest) *fewest = kit->tries;
    kit->tries += !stuck;
    kit->next = busy;
    busy = kit;
  }
  return busy;
}

/* One pass over the kits that leave. Those that are still busy stay, and after MAX_REMOVE_TRIES wait for teardown. */
void osb_kits_clean(struct osb_job *job) {
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, clean_job));
  pthread_mutex_lock(&sandbox->lock);
  struct osb_kit_entry *kits = sandbox->leaving;
  sandbox->leaving = NULL;
  pthread_mutex_unlock(&sandbox->lock);
  uint32_t fewest = MAX_REMOVE_TRIES;
  struct osb_kit_entry *busy = remove_kits(sandbox, kits, &fewest);
  pthread_mutex_lock(&sandbox->lock);
  bool more = sandbox->leaving != NULL;
  struct osb_kit_entry **tail = &sandbox->leaving;
  while (*tail) tail = &(*tail)->next;
  *tail = busy;
  sandbox->cleaning = false;
  if (more) clean_locked(sandbox, 0);
  else if (fewest < MAX_REMOVE_TRIES) clean_locked(sandbox, 1 << fewest);
  pthread_mutex_unlock(&sandbox->lock);
  osb_sandbox_drop(sandbox);
}
