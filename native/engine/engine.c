/* The engine itself: its threads, its table of sandboxes, its graveyard. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../spawn.h"
#include "internal.h"

#define EVENTS_PER_BATCH 64

/* ---- Watches and graves ---- */

int osb_watch_add(struct osb_engine *engine, struct osb_watch *watch, uint32_t events, struct osb_error *error) {
  struct epoll_event event = {.events = events, .data.ptr = watch};
  if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0) return osb_fail(error, errno, "epoll_ctl");
  watch->epoll = engine->epoll;
  watch->added = true;
  return 0;
}

/* Closing alone would not take it out of the epoll where a child that is being started (an init of ours, a process of
 * Node's) has a copy of all descriptors until its exec: `io` would be told of it after `watch` is freed. */
void osb_watch_close(struct osb_watch *watch) {
  if (watch->added) epoll_ctl(watch->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
  watch->added = false;
  if (watch->fd >= 0) close(watch->fd);
  watch->fd = -1;
}

void osb_bury(struct osb_engine *engine, struct osb_grave *grave, void *memory) {
  grave->memory = memory;
  pthread_mutex_lock(&engine->lock);
  grave->next = engine->graveyard;
  engine->graveyard = grave;
  pthread_mutex_unlock(&engine->lock);
}

static void empty_graveyard(struct osb_engine *engine) {
  pthread_mutex_lock(&engine->lock);
  struct osb_grave *grave = engine->graveyard;
  engine->graveyard = NULL;
  pthread_mutex_unlock(&engine->lock);
  while (grave) {
    struct osb_grave *next = grave->next;
    free(grave->memory);
    grave = next;
  }
}

/* ---- The table ---- */

void osb_sandbox_hold(struct osb_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->engine->lock);
  sandbox->refs++;
  pthread_mutex_unlock(&sandbox->engine->lock);
}

void osb_sandbox_drop(struct osb_sandbox *sandbox) {
  struct osb_engine *engine = sandbox->engine;
  pthread_mutex_lock(&engine->lock);
  bool last = --sandbox->refs == 0;
  pthread_mutex_unlock(&engine->lock);
  if (!last) return;
  osb_bury(engine, &sandbox->grave, sandbox);
}

struct osb_sandbox *osb_sandbox_find(struct osb_engine *engine, uint64_t handle) {
  pthread_mutex_lock(&engine->lock);
  struct osb_sandbox *sandbox = engine->table[handle % OSB_MAX_SANDBOXES];
  if (sandbox && sandbox->handle != handle) sandbox = NULL;
  if (sandbox) sandbox->refs++;
  pthread_mutex_unlock(&engine->lock);
  return sandbox;
}

/* Searched in a ring, so that ids are used again as late as possible. */
static void take_id_slot(struct osb_engine *engine, struct osb_sandbox *sandbox) {
  uint32_t slot = engine->next_id_slot;
  while (engine->id_slots[slot / 64] >> (slot % 64) & 1) slot = (slot + 1) % OSB_ID_SLOTS;
  engine->id_slots[slot / 64] |= 1ull << (slot % 64);
  engine->next_id_slot = (slot + 1) % OSB_ID_SLOTS;
  sandbox->id_slot = slot;
}

int osb_table_add(struct osb_engine *engine, struct osb_sandbox *sandbox, struct osb_error *error) {
  int result = 0;
  pthread_mutex_lock(&engine->lock);
  if (engine->closing) result = osb_fail(error, ESHUTDOWN, "the engine is closing");
  else if (engine->nsandboxes >= OSB_MAX_SANDBOXES)
    result = osb_fail(error, EAGAIN, "there are %u sandboxes", engine->nsandboxes);
  if (result == 0) {
    uint32_t place = engine->next_place;
    while (engine->table[place]) place = (place + 1) % OSB_MAX_SANDBOXES;
    engine->next_place = (place + 1) % OSB_MAX_SANDBOXES;
    engine->table[place] = sandbox;
    engine->nsandboxes++;
    sandbox->handle = ++engine->last_round[place] * OSB_MAX_SANDBOXES + place;
    sandbox->refs = 1;
    sandbox->usual = engine->usual;
    take_id_slot(engine, sandbox);
  }
  pthread_mutex_unlock(&engine->lock);
  return result;
}

void osb_table_remove(struct osb_sandbox *sandbox) {
  struct osb_engine *engine = sandbox->engine;
  pthread_mutex_lock(&engine->lock);
  engine->table[sandbox->handle % OSB_MAX_SANDBOXES] = NULL;
  engine->id_slots[sandbox->id_slot / 64] &= ~(1ull << (sandbox->id_slot % 64));
  if (sandbox->usual.memory_bytes) engine->usual = sandbox->usual;
  engine->nsandboxes--;
  pthread_cond_signal(&engine->work);
  pthread_mutex_unlock(&engine->lock);
  osb_sandbox_drop(sandbox);
}

/* Calls visit for every sandbox; the lock is not held meanwhile. */
static void for_each_sandbox(struct osb_engine *engine, void (*visit)(struct osb_sandbox *, int64_t), int64_t argument) {
  for (uint32_t place = 0; place < OSB_MAX_SANDBOXES; place++) {
    pthread_mutex_lock(&engine->lock);
    struct osb_sandbox *sandbox = engine->table[place];
    if (sandbox) sandbox->refs++;
    pthread_mutex_unlock(&engine->lock);
    if (!sandbox) continue;
    visit(sandbox, argument);
    osb_sandbox_drop(sandbox);
  }
}

/* ---- io ---- */

static void *io_main(void *argument) {
  struct osb_engine *engine = argument;
  pthread_setname_np(pthread_self(), "osb-io");
  struct epoll_event events[EVENTS_PER_BATCH];
  int64_t next_tick = osb_now_ms() + OSB_TICK_MS;
  for (bool stop = false; !stop;) {
    empty_graveyard(engine);
    int count = epoll_wait(engine->epoll, events, EVENTS_PER_BATCH, OSB_TICK_MS);
    for (int i = 0; i < count; i++) {
      struct osb_watch *watch = events[i].data.ptr;
      if (watch) watch->on_event(watch, events[i].events);
    }
    int64_t now = osb_now_ms();
    if (now >= next_tick) {
      for_each_sandbox(engine, osb_sandbox_check_deadlines, now);
      next_tick = now + OSB_TICK_MS;
    }
    pthread_mutex_lock(&engine->lock);
    stop = engine->stop_io;
    pthread_mutex_unlock(&engine->lock);
  }
  return NULL;
}

/* ---- Opening and closing ---- */

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

static void destroy_engine(struct osb_engine *engine) {
  empty_graveyard(engine);
  close_fd(engine->epoll);
  close_fd(engine->wake);
  close_fd(engine->dev_null);
  pthread_mutex_destroy(&engine->lock);
  pthread_cond_destroy(&engine->work);
  free(engine->closing);
  free(engine);
}

static int open_descriptors(struct osb_engine *engine, struct osb_error *error) {
  engine->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (engine->epoll < 0) return osb_fail(error, errno, "epoll_create1");
  engine->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (engine->wake < 0) return osb_fail(error, errno, "eventfd");
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, engine->wake, &event) < 0) return osb_fail(error, errno, "epoll_ctl");
  engine->dev_null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (engine->dev_null < 0) return osb_fail(error, errno, "open /dev/null");
  engine->image = osb_init_image(error);
  return engine->image < 0 ? -1 : 0;
}

/* With all signals blocked: they are for the process that we live in, and a broken pipe is EPIPE to us. */
static int start_threads(struct osb_engine *engine, struct osb_error *error) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int code = pthread_create(&engine->io, NULL, io_main, engine);
  if (code == 0) {
    code = pthread_create(&engine->builder, NULL, osb_builder_main, engine);
    if (code != 0) {
      engine->stop_io = true;
      pthread_join(engine->io, NULL);
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code ? osb_fail(error, code, "start the engine's threads") : 0;
}

struct osb_engine *osb_engine_open(const struct osb_engine_config *config, struct osb_error *error) {
  struct osb_engine *engine = calloc(1, sizeof *engine);
  if (!engine) return osb_fail(error, ENOMEM, "no memory for an engine"), NULL;
  engine->on_lost = config->on_lost;
  engine->context = config->context;
  engine->epoll = engine->wake = engine->dev_null = -1;
  for (int i = 0; i < OSB_QUEUES; i++) engine->tails[i] = &engine->queues[i];
  /* Engines of several processes should not use the same ids, though nothing breaks if they do. */
  engine->next_id_slot = (uint32_t)getpid() * 2654435761u % OSB_ID_SLOTS;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_mutex_init(&engine->lock, NULL);
  pthread_cond_init(&engine->work, &attributes);
  pthread_condattr_destroy(&attributes);
  int result = open_descriptors(engine, error);
  if (result == 0) result = osb_cgroups_open(&engine->cgroups, config->name, config->cgroup, error);
  if (result == 0) {
    result = start_threads(engine, error);
    struct osb_error ignored; /* the first error is the one to tell */
    if (result < 0) osb_cgroups_close(&engine->cgroups, &ignored);
  }
  if (result == 0) return engine;
  destroy_engine(engine);
  return NULL;
}

static void destroy_one(struct osb_sandbox *sandbox, int64_t unused) {
  (void)unused;
  pthread_mutex_lock(&sandbox->lock);
  sandbox->destroyed = true;
  osb_sandbox_condemn_locked(sandbox, "the engine closes");
  pthread_mutex_unlock(&sandbox->lock);
}

void osb_engine_close(struct osb_engine *engine, osb_done *done, void *context) {
  struct osb_waiter *waiter = malloc(sizeof *waiter);
  if (!waiter) abort();
  *waiter = (struct osb_waiter){NULL, done, context};
  pthread_mutex_lock(&engine->lock);
  bool again = engine->closing != NULL;
  if (!again) engine->closing = waiter;
  engine->nsandboxes += !again; /* keeps the engine until we let go of it */
  pthread_mutex_unlock(&engine->lock);
  if (!again) {
    for_each_sandbox(engine, destroy_one, 0);
    pthread_mutex_lock(&engine->lock);
    engine->nsandboxes--;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    return;
  }
  free(waiter);
  struct osb_error error;
  osb_fail(&error, EALREADY, "the engine is closing already");
  done(context, &error);
}

void osb_engine_free(struct osb_engine *engine) {
  pthread_join(engine->builder, NULL);
  destroy_engine(engine);
}
