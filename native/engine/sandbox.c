/*
 * A sandbox from its clone to the end of its init; what comes after that is in teardown.c.
 *
 *   create ──▶ CREATING ──READY──▶ IS_READY ──▶ ENDING ──pidfd──▶ teardown ──▶ GONE
 *                  └──── SETUP_FAILED, deadline, destroy ───▲
 *
 * ENDING is reached by exactly one of: destroy, an answer that does not add up, a deadline, init's own end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "../spawn.h"
#include "internal.h"

/* ---- Creating ---- */

static size_t setup_size(const struct osb_sandbox_config *config) {
  size_t size = strlen(config->hostname) + 1;
  for (size_t i = 0; i < config->nbinds; i++)
    size += strlen(config->binds[i].source) + strlen(config->binds[i].target) + 2;
  for (size_t i = 0; i < config->nlinks; i++)
    size += strlen(config->links[i].target) + strlen(config->links[i].path) + 2;
  for (size_t i = 0; i < config->nfiles; i++)
    size += strlen(config->files[i].path) + strlen(config->files[i].content) + 2;
  return size;
}

static char *put(char *at, const char *text) { return stpcpy(at, text) + 1; }

static struct osb_message *make_setup(const struct osb_sandbox_config *config, struct osb_error *error) {
  size_t size = setup_size(config);
  if (size > OSB_MAX_INLINE) {
    osb_fail(error, E2BIG, "binds, links and files of a sandbox are %zu bytes", size);
    return NULL;
  }
  struct osb_setup body = {
      .disk_bytes = config->disk_bytes,
      .disk_inodes = config->disk_inodes,
      .shm_bytes = config->shm_bytes,
      .nbinds = (uint32_t)config->nbinds,
      .nlinks = (uint32_t)config->nlinks,
      .nfiles = (uint32_t)config->nfiles,
      .flags = config->host_network ? 0 : OSB_SETUP_LOOPBACK,
  };
  struct osb_message *message = osb_message_new(OSB_SETUP, &body, sizeof body, size);
  char *at = put((char *)osb_message_variable(message, sizeof body), config->hostname);
  for (size_t i = 0; i < config->nbinds; i++) at = put(put(at, config->binds[i].source), config->binds[i].target);
  for (size_t i = 0; i < config->nlinks; i++) at = put(put(at, config->links[i].target), config->links[i].path);
  for (size_t i = 0; i < config->nfiles; i++) at = put(put(at, config->files[i].path), config->files[i].content);
  return message;
}

static int place(void *context, pid_t pid, struct osb_error *error) {
  struct osb_sandbox *sandbox = context;
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  if (!cgroups->driver || cgroups->driver->by_birth) return 0;
  char path[OSB_CGROUP_PATH];
  const char *leaf = cgroups->driver->init_leaf;
  snprintf(path, sizeof path, "%s%s%s", sandbox->path, leaf ? "/" : "", leaf ? leaf : "");
  return osb_cgroup_place(cgroups, path, pid, error);
}

static int make_cgroup(struct osb_sandbox *sandbox, struct osb_error *error) {
  static const struct osb_limits none = {0, 0};
  const struct osb_cgroups *cgroups = &sandbox->engine->cgroups;
  if (!cgroups->driver) return 0;
  if (osb_cgroup_make(cgroups, sandbox->path, &sandbox->session_limits, error) < 0) return -1;
  if (!cgroups->driver->init_leaf) return 0;
  char path[OSB_CGROUP_PATH];
  snprintf(path, sizeof path, "%s/%s", sandbox->path, cgroups->driver->init_leaf);
  return osb_cgroup_make(cgroups, path, &none, error);
}

static int start_init(struct osb_sandbox *sandbox, struct osb_error *error) {
  struct osb_engine *engine = sandbox->engine;
  struct osb_spawn_config config = {
      .image = engine->image,
      .first_id = osb_first_id(sandbox),
      .host_network = sandbox->host_network,
      .place = place,
      .context = sandbox,
  };
  struct osb_spawned spawned;
  if (make_cgroup(sandbox, error) < 0) return -1;
  const struct osb_cgroups *cgroups = &engine->cgroups;
  bool by_birth = cgroups->driver && cgroups->driver->by_birth;
  if (by_birth && osb_cgroup_enter(cgroups, sandbox->path, error) < 0) return -1;
  int started = osb_spawn(&config, &spawned, error);
  if (by_birth) osb_cgroup_leave(cgroups);
  if (started < 0) return -1;
  pthread_mutex_lock(&sandbox->lock);
  sandbox->pid = spawned.pid;
  sandbox->pidfd.fd = spawned.pidfd;
  sandbox->socket.fd = spawned.socket;
  int result = osb_watch_add(engine, &sandbox->socket, EPOLLIN, error);
  if (result == 0) result = osb_watch_add(engine, &sandbox->pidfd, EPOLLIN | EPOLLONESHOT, error);
  if (result < 0) {
    sandbox->create_error = *error;
    osb_sandbox_condemn_locked(sandbox, "%s", error->text);
  } else if (sandbox->state == OSB_CREATING) {
    osb_send_locked(sandbox, sandbox->setup, ++sandbox->last_id);
    sandbox->setup = NULL;
    osb_kits_want_locked(sandbox);
  } else { /* destroyed meanwhile */
    osb_watch_close(&sandbox->socket);
    pidfd_send_signal(sandbox->pidfd.fd, SIGKILL, NULL, 0);
  }
  pthread_mutex_unlock(&sandbox->lock);
  return 0;
}

static void create(struct osb_job *job) {
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)job - offsetof(struct osb_sandbox, create_job));
  struct osb_error error;
  if (start_init(sandbox, &error) == 0) return;
  pthread_mutex_lock(&sandbox->lock);
  sandbox->create_error = error;
  sandbox->state = OSB_ENDING;
  sandbox->tearing_down = true;
  pthread_mutex_unlock(&sandbox->lock);
  osb_teardown(&sandbox->teardown_job);
}

static struct osb_sandbox *sandbox_new(struct osb_engine *engine, const struct osb_sandbox_config *config) {
  struct osb_sandbox *sandbox = calloc(1, sizeof *sandbox);
  if (!sandbox) abort();
  pthread_mutex_init(&sandbox->lock, NULL);
  sandbox->engine = engine;
  sandbox->host_network = config->host_network;
  sandbox->session_limits = (struct osb_limits){config->session_memory_bytes, config->session_processes};
  sandbox->socket = (struct osb_watch){.on_event = osb_sandbox_on_socket, .fd = -1};
  sandbox->pidfd = (struct osb_watch){.on_event = osb_sandbox_on_exit, .fd = -1};
  sandbox->queue_tail = &sandbox->queue;
  sandbox->deadline_ms = osb_now_ms() + OSB_CREATE_MS;
  sandbox->create_job.run = create;
  sandbox->kit_job.run = osb_kits_make;
  sandbox->clean_job.run = osb_kits_clean;
  sandbox->teardown_job.run = osb_teardown;
  return sandbox;
}

void osb_sandbox_create(struct osb_engine *engine, const struct osb_sandbox_config *config, osb_created *done,
                        void *context) {
  struct osb_error error;
  struct osb_message *setup = make_setup(config, &error);
  if (!setup) {
    done(context, &error, 0);
    return;
  }
  struct osb_sandbox *sandbox = sandbox_new(engine, config);
  sandbox->setup = setup;
  sandbox->created = done;
  sandbox->created_context = context;
  /* Locked, for from here on close can see it. */
  pthread_mutex_lock(&sandbox->lock);
  int result = osb_table_add(engine, sandbox, &error);
  if (result == 0) {
    snprintf(sandbox->path, sizeof sandbox->path, "s%llu", (unsigned long long)sandbox->handle);
    osb_job_push(engine, &sandbox->create_job, OSB_URGENT);
  }
  pthread_mutex_unlock(&sandbox->lock);
  if (result == 0) return;
  osb_message_free(setup);
  pthread_mutex_destroy(&sandbox->lock);
  free(sandbox);
  done(context, &error, 0);
}

/* ---- Ending ---- */

/* From here on nothing is sent or believed. What init has is ended by the kernel with it. */
void osb_sandbox_condemn_locked(struct osb_sandbox *sandbox, const char *format, ...) {
  if (sandbox->state == OSB_ENDING || sandbox->state == OSB_GONE) return;
  va_list args;
  va_start(args, format);
  vsnprintf(sandbox->reason, sizeof sandbox->reason, format, args);
  va_end(args);
  sandbox->state = OSB_ENDING;
  sandbox->deadline_ms = osb_now_ms() + OSB_DEATH_MS;
  osb_watch_close(&sandbox->socket);
  if (sandbox->pidfd.fd >= 0) pidfd_send_signal(sandbox->pidfd.fd, SIGKILL, NULL, 0);
}

void osb_sandbox_destroy(struct osb_engine *engine, uint64_t handle, osb_done *done, void *context) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  if (!sandbox) {
    pthread_mutex_lock(&engine->lock);
    bool was = handle / OSB_MAX_SANDBOXES <= engine->last_round[handle % OSB_MAX_SANDBOXES] &&
               handle >= OSB_MAX_SANDBOXES;
    pthread_mutex_unlock(&engine->lock);
    struct osb_error error;
    osb_fail(&error, ESRCH, "no such sandbox");
    done(context, was ? NULL : &error);
    return;
  }
  struct osb_waiter *waiter = malloc(sizeof *waiter);
  if (!waiter) abort();
  pthread_mutex_lock(&sandbox->lock);
  *waiter = (struct osb_waiter){sandbox->waiters, done, context};
  bool gone = sandbox->state == OSB_GONE;
  if (!gone) sandbox->waiters = waiter;
  if (!gone && sandbox->state != OSB_ENDING) sandbox->destroyed = true;
  osb_sandbox_condemn_locked(sandbox, "the sandbox was destroyed");
  pthread_mutex_unlock(&sandbox->lock);
  osb_sandbox_drop(sandbox);
  if (!gone) return;
  free(waiter);
  done(context, NULL);
}

void osb_sandbox_tear_down_locked(struct osb_sandbox *sandbox) {
  if (sandbox->tearing_down) return;
  sandbox->tearing_down = true;
  osb_job_push(sandbox->engine, &sandbox->teardown_job, OSB_LATER);
}

void osb_sandbox_check_deadlines(struct osb_sandbox *sandbox, int64_t now_ms) {
  pthread_mutex_lock(&sandbox->lock);
  if (sandbox->state == OSB_CREATING && now_ms >= sandbox->deadline_ms) {
    osb_fail(&sandbox->create_error, ETIMEDOUT, "init was not ready within %d ms", OSB_CREATE_MS);
    osb_sandbox_condemn_locked(sandbox, "%s", sandbox->create_error.text);
  }
  bool overdue = false;
  for (struct osb_run *run = sandbox->runs; run; run = run->next) overdue |= now_ms >= run->deadline_ms;
  for (struct osb_call *call = sandbox->calls; call; call = call->next) overdue |= now_ms >= call->deadline_ms;
  if (overdue) osb_sandbox_condemn_locked(sandbox, "init does not answer");
  /* An init that SIGKILL does not end: the kernel is stuck in it. The teardown says so. */
  if (sandbox->state == OSB_ENDING && sandbox->pidfd.fd >= 0 && now_ms >= sandbox->deadline_ms)
    osb_sandbox_tear_down_locked(sandbox);
  osb_kits_trim_locked(sandbox);
  pthread_mutex_unlock(&sandbox->lock);
}
