/*
 * Runs: one command each, from osb_exec to its outcome. Its output is drained while it runs; when init has said that the
 * command and all its descendants are gone, what is still in the pipes is all there will be, so it is read up to there
 * and not until end of file: another command of the session may have been handed the pipe and keep it open. For the
 * same reason we keep the writing ends ourselves: `io` need not be woken for an end of file just before the outcome.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "answers.h"
#include "internal.h"

/* Read at once from one pipe before others have their turn; also the default capacity of a pipe. */
#define CHUNK_BYTES 65536
#define CHUNKS_PER_TURN 16
/* Of the last reading: what a pipe can hold (fs.pipe-max-size), so that a writer who is still there cannot keep us. */
#define LAST_CHUNKS 16

/* ---- Streams ---- */

/* False: no memory for it. */
static bool keep(struct osb_stream *stream, const uint8_t *bytes, size_t count) {
  size_t wanted = stream->count + count;
  if (wanted > stream->room) {
    size_t room = stream->room * 2 > wanted ? stream->room * 2 : wanted;
    uint8_t *grown = realloc(stream->bytes, room);
    if (!grown) return false;
    stream->bytes = grown;
    stream->room = room;
  }
  memcpy(stream->bytes + stream->count, bytes, count);
  stream->count += count;
  return true;
}

static void take_chunk(struct osb_stream *stream, const uint8_t *bytes, size_t count) {
  uint64_t left = stream->limit - stream->count;
  if (count > left) stream->truncated = true;
  size_t kept = count > left ? (size_t)left : count;
  if (kept > 0 && !keep(stream, bytes, kept))
    osb_fail(&stream->run->error, ENOMEM, "no memory for the output of a command");
}

/* Reads until the pipe is empty, at end of file (and closed then), or the turn is over. */
static void drain_locked(struct osb_stream *stream, int chunks) {
  uint8_t chunk[CHUNK_BYTES];
  while (stream->watch.fd >= 0 && chunks-- > 0) {
    ssize_t n = read(stream->watch.fd, chunk, sizeof chunk);
    if (n > 0) take_chunk(stream, chunk, (size_t)n);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n == 0 || errno != EAGAIN) osb_watch_close(&stream->watch);
    return;
  }
}

static void on_output(struct osb_watch *watch, uint32_t events) {
  (void)events;
  struct osb_stream *stream = (struct osb_stream *)watch;
  struct osb_sandbox *sandbox = stream->run->sandbox;
  pthread_mutex_lock(&sandbox->lock);
  if (!stream->run->over) drain_locked(stream, CHUNKS_PER_TURN);
  pthread_mutex_unlock(&sandbox->lock);
}

/* A program need not read its input: EPIPE is no error. */
static void feed_locked(struct osb_stream *in) {
  while (in->watch.fd >= 0 && in->count < in->room) {
    ssize_t n = write(in->watch.fd, in->bytes + in->count, in->room - in->count);
    if (n > 0) in->count += (size_t)n;
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0 && errno == EAGAIN) return;
    break;
  }
  osb_watch_close(&in->watch);
}

static void on_input_room(struct osb_watch *watch, uint32_t events) {
  (void)events;
  struct osb_stream *stream = (struct osb_stream *)watch;
  struct osb_sandbox *sandbox = stream->run->sandbox;
  pthread_mutex_lock(&sandbox->lock);
  if (!stream->run->over) feed_locked(stream);
  pthread_mutex_unlock(&sandbox->lock);
}

void osb_run_drain_locked(struct osb_run *run) {
  drain_locked(&run->out, LAST_CHUNKS);
  drain_locked(&run->err, LAST_CHUNKS);
  run->over = true; /* what epoll still says of its pipes is ignored */
}

static void close_streams_locked(struct osb_run *run) {
  struct osb_stream *streams[] = {&run->out, &run->err, &run->in};
  for (int i = 0; i < 3; i++) {
    osb_watch_close(&streams[i]->watch);
    if (streams[i]->writer >= 0) close(streams[i]->writer);
    streams[i]->writer = -1;
  }
}

/* ---- Making ---- */

/* A pipe belongs to who makes it. Given to the sandbox's root, /dev/stdout and /dev/stderr can be opened inside. */
static int give_away(const struct osb_run *run, int fd, struct osb_error *error) {
  uint32_t id = osb_first_id(run->sandbox);
  return fchown(fd, id, id) < 0 ? osb_fail(error, errno, "fchown of a pipe") : 0;
}

static int open_output(struct osb_stream *stream, struct osb_message *exec, struct osb_error *error) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return osb_fail(error, errno, "pipe for output");
  stream->watch.fd = ends[0];
  stream->writer = ends[1];
  exec->borrowed |= 1u << exec->nfds;
  exec->fds[exec->nfds++] = ends[1];
  /* Ours only: the command's end must block. */
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) return osb_fail(error, errno, "fcntl of a pipe");
  return give_away(stream->run, ends[1], error);
}

static int open_input(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error) {
  struct osb_message *exec = run->exec;
  if (config->stdin_bytes == 0) {
    exec->borrowed |= 1u << exec->nfds;
    exec->fds[exec->nfds++] = run->sandbox->engine->dev_null;
    return 0;
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return osb_fail(error, errno, "pipe for input");
  exec->fds[exec->nfds++] = ends[0];
  run->in.watch.fd = ends[1];
  if (fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0) return osb_fail(error, errno, "fcntl of a pipe");
  if (give_away(run, ends[1], error) < 0) return -1;
  /* What fits into the pipe needs no copy and no event. The reading end is ours yet: no SIGPIPE here. */
  ssize_t n = write(ends[1], config->stdin_data, config->stdin_bytes);
  size_t written = n > 0 ? (size_t)n : 0;
  if (written == config->stdin_bytes) {
    osb_watch_close(&run->in.watch);
    return 0;
  }
  run->in.room = config->stdin_bytes - written;
  run->in.bytes = malloc(run->in.room);
  if (!run->in.bytes) return osb_fail(error, ENOMEM, "no memory for the input of a command");
  memcpy(run->in.bytes, config->stdin_data + written, run->in.room);
  return 0;
}

static size_t strings_size(const struct osb_exec_config *config) {
  size_t size = strlen(config->cwd) + 1;
  for (size_t i = 0; i < config->argc; i++) size += strlen(config->argv[i]) + 1;
  for (size_t i = 0; i < config->envc; i++) size += strlen(config->env[i]) + 1;
  return size;
}

static void put_strings(uint8_t *at, const struct osb_exec_config *config) {
  for (size_t i = 0; i < config->argc; i++) at = (uint8_t *)stpcpy((char *)at, config->argv[i]) + 1;
  for (size_t i = 0; i < config->envc; i++) at = (uint8_t *)stpcpy((char *)at, config->env[i]) + 1;
  strcpy((char *)at, config->cwd);
}

static int strings_memfd(const struct osb_exec_config *config, size_t size, struct osb_error *error) {
  uint8_t *strings = malloc(size);
  if (!strings) return osb_fail(error, ENOMEM, "no memory for the strings of a command");
  put_strings(strings, config);
  int fd = osb_memfd(error);
  if (fd >= 0 && (osb_memfd_fill(fd, strings, size, error) < 0 || osb_memfd_seal(fd, error) < 0)) {
    close(fd);
    fd = -1;
  }
  free(strings);
  return fd;
}

/* The EXEC without its kit. */
static int make_exec(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error) {
  size_t size = strings_size(config);
  if (config->argc == 0 || config->argc > UINT16_MAX || config->envc > UINT16_MAX)
    return osb_fail(error, EINVAL, "a command has 1 to 65535 arguments and at most 65535 environment variables");
  if (size > OSB_MAX_STRINGS) return osb_fail(error, E2BIG, "arguments and environment of %zu bytes", size);
  bool by_memfd = size > OSB_MAX_INLINE;
  struct osb_exec body = {
      .flags = by_memfd ? OSB_EXEC_MEMFD : 0,
      .argc = (uint32_t)config->argc,
      .envc = (uint32_t)config->envc,
      .strings_bytes = (uint32_t)size,
      .nofile = config->nofile,
      .fsize_bytes = config->fsize_bytes,
      .cpu_ms = config->cpu_ms,
      .wall_ms = config->wall_ms,
  };
  run->exec = osb_message_new(OSB_EXEC, &body, sizeof body, by_memfd ? 0 : size);
  if (!by_memfd) put_strings(osb_message_variable(run->exec, sizeof body), config);
  if (open_input(run, config, error) < 0 || open_output(&run->out, run->exec, error) < 0 ||
      open_output(&run->err, run->exec, error) < 0)
    return -1;
  if (!by_memfd) return 0;
  int fd = strings_memfd(config, size, error);
  if (fd < 0) return -1;
  run->exec->fds[run->exec->nfds++] = fd;
  return 0;
}

static struct osb_run *run_new(struct osb_sandbox *sandbox, const struct osb_exec_config *config, osb_ran *done,
                               void *context) {
  struct osb_run *run = calloc(1, sizeof *run);
  if (!run) abort();
  run->sandbox = sandbox;
  run->limits = (struct osb_limits){config->memory_bytes, config->processes};
  struct osb_stream *streams[] = {&run->out, &run->err, &run->in};
  for (int i = 0; i < 3; i++) {
    streams[i]->run = run;
    streams[i]->watch.fd = streams[i]->writer = -1;
    streams[i]->watch.on_event = i < 2 ? on_output : on_input_room;
    streams[i]->limit = config->output_bytes;
  }
  run->outcome.exit_code = -1;
  run->outcome.text = "";
  run->started_ms = osb_now_ms();
  run->done = done;
  run->context = context;
  int64_t forever = INT64_MAX / 2;
  bool bounded = config->wall_ms > 0 && config->wall_ms < (uint64_t)forever / 2;
  run->deadline_ms = bounded ? run->started_ms + (int64_t)config->wall_ms + OSB_KILL_GRACE_MS + OSB_ANSWER_MS : forever;
  return run;
}

/* ---- Starting ---- */

static struct osb_run *first_waiting_locked(const struct osb_sandbox *sandbox) {
  struct osb_run *run = sandbox->runs;
  while (run && !run->exec) run = run->next;
  return run;
}

const struct osb_limits *osb_run_waiting_limits_locked(const struct osb_sandbox *sandbox) {
  const struct osb_run *run = first_waiting_locked(sandbox);
  return run ? &run->limits : NULL;
}

void osb_run_unlink_locked(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  struct osb_run **at = &sandbox->runs;
  while (*at && *at != run) at = &(*at)->next;
  if (!*at) return;
  *at = run->next;
  run->next = NULL;
  sandbox->nruns--;
  if (run->exec) sandbox->nwaiting--;
}

static int watch_streams(struct osb_run *run) {
  struct osb_engine *engine = run->sandbox->engine;
  if (osb_watch_add(engine, &run->out.watch, EPOLLIN, &run->error) < 0) return -1;
  if (osb_watch_add(engine, &run->err.watch, EPOLLIN, &run->error) < 0) return -1;
  return run->in.watch.fd < 0 ? 0 : osb_watch_add(engine, &run->in.watch, EPOLLOUT, &run->error);
}

static void send_kill_locked(struct osb_run *run, uint32_t cause) {
  struct osb_kill body = {.exec_id = run->id, .cause = cause};
  osb_send_locked(run->sandbox, osb_message_new(OSB_KILL, &body, sizeof body, 0), ++run->sandbox->last_id);
}

/* False: run->error is filled. */
static bool start_locked(struct osb_run *run, struct osb_kit_entry *kit) {
  struct osb_sandbox *sandbox = run->sandbox;
  run->kit = kit;
  if (kit && (kit->limits.memory_bytes != run->limits.memory_bytes || kit->limits.processes != run->limits.processes)) {
    char path[OSB_CGROUP_PATH];
    osb_kit_path(sandbox, kit, path);
    if (osb_cgroup_set_limits(&sandbox->engine->cgroups, path, &kit->limits, &run->limits, &run->error) < 0)
      return false;
  }
  if (kit) kit->limits = run->limits;
  if (kit) osb_send_locked(sandbox, osb_kit_message(sandbox, kit), ++sandbox->last_id);
  struct osb_message *exec = run->exec;
  run->exec = NULL;
  sandbox->nwaiting--;
  uint32_t number = kit ? kit->number : 0;
  memcpy(osb_message_variable(exec, offsetof(struct osb_exec, kit)), &number, sizeof number);
  osb_send_locked(sandbox, exec, run->id);
  /* Only now, while init is at work. */
  if (watch_streams(run) < 0) send_kill_locked(run, OSB_CAUSE_CANCELLED);
  return true;
}

static void fail_locked(struct osb_run *run, struct osb_run **failed) {
  osb_run_unlink_locked(run);
  osb_run_drain_locked(run);
  run->next = *failed;
  *failed = run;
}

struct osb_run *osb_runs_start_locked(struct osb_sandbox *sandbox) {
  struct osb_run *failed = NULL, *run;
  bool kits = sandbox->engine->cgroups.driver != NULL;
  while (sandbox->state == OSB_IS_READY && (run = first_waiting_locked(sandbox))) {
    struct osb_kit_entry *kit = kits ? osb_kit_take_locked(sandbox, &run->limits) : NULL;
    if (kits && !kit) break;
    if (!start_locked(run, kit)) fail_locked(run, &failed);
  }
  osb_kits_want_locked(sandbox);
  return failed;
}

struct osb_run *osb_run_fail_waiting_locked(struct osb_sandbox *sandbox, const struct osb_error *error) {
  struct osb_run *failed = NULL, *run = first_waiting_locked(sandbox);
  if (!run) return NULL;
  run->error = *error;
  fail_locked(run, &failed);
  return failed;
}

/* Links the run; it is sent at once if a kit is there, else when builder has made one or another run gives one back. */
static int submit_locked(struct osb_sandbox *sandbox, struct osb_run *run, struct osb_run **failed) {
  if (sandbox->state != OSB_IS_READY) return osb_fail(&run->error, ESRCH, "the sandbox has ended");
  if (sandbox->nruns >= OSB_MAX_JOBS)
    return osb_fail(&run->error, EAGAIN, "%u commands are under way in the sandbox", sandbox->nruns);
  run->id = ++sandbox->last_id;
  struct osb_run **at = &sandbox->runs;
  while (*at) at = &(*at)->next;
  *at = run;
  sandbox->nruns++;
  sandbox->nwaiting++;
  sandbox->usual = run->limits;
  *failed = osb_runs_start_locked(sandbox);
  return 0;
}

uint64_t osb_exec(struct osb_engine *engine, uint64_t handle, const struct osb_exec_config *config, osb_ran *done,
                  void *context) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  if (!sandbox) {
    struct osb_error error;
    osb_fail(&error, ESRCH, "the sandbox has ended");
    done(context, &error, NULL);
    return 0;
  }
  struct osb_run *run = run_new(sandbox, config, done, context), *failed = NULL;
  int result = make_exec(run, config, &run->error);
  pthread_mutex_lock(&sandbox->lock);
  if (result == 0) result = submit_locked(sandbox, run, &failed);
  uint64_t id = result == 0 ? run->id : 0; /* the run is not ours any more once the lock is given back */
  if (result < 0) {
    osb_run_drain_locked(run);
    failed = run;
  }
  pthread_mutex_unlock(&sandbox->lock);
  osb_runs_deliver(failed);
  osb_sandbox_drop(sandbox);
  return id;
}

void osb_kill(struct osb_engine *engine, uint64_t handle, uint64_t id, uint32_t cause) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  if (!sandbox) return;
  pthread_mutex_lock(&sandbox->lock);
  struct osb_run *run = sandbox->runs;
  while (run && run->id != id) run = run->next;
  if (run && run->exec) { /* init does not know it yet */
    osb_run_unlink_locked(run);
    osb_run_drain_locked(run);
    run->outcome.cause = cause;
  } else if (run && sandbox->state == OSB_IS_READY) {
    send_kill_locked(run, cause);
    run = NULL;
  } else {
    run = NULL;
  }
  pthread_mutex_unlock(&sandbox->lock);
  if (run) osb_runs_deliver(run);
  osb_sandbox_drop(sandbox);
}

/* ---- Ending ---- */

struct osb_run *osb_run_exited_locked(struct osb_sandbox *sandbox, const struct osb_answer *answer) {
  struct osb_run *run = sandbox->runs;
  while (run && run->id != answer->id) run = run->next;
  if (!run || run->exec) return NULL;
  const struct osb_exited *exited = &answer->exited;
  run->outcome = (struct osb_outcome){
      .cause = exited->cause,
      .stage = exited->stage,
      .error = exited->error,
      .exit_code = exited->exit_code,
      .signal = exited->signal,
      .leftover = exited->leftover,
      .cpu_us = exited->cpu_us,
      .wall_us = exited->wall_us,
      .memory_peak_bytes = exited->memory_peak_bytes,
      .text = "",
  };
  osb_run_drain_locked(run);
  osb_run_unlink_locked(run);
  return run;
}

/* A run that went well has left no process, was not helped by the OOM killer, and is what its cgroup says it is. */
static void return_kit(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  const struct osb_outcome *outcome = &run->outcome;
  bool by_itself = outcome->cause == OSB_CAUSE_EXITED || outcome->cause == OSB_CAUSE_SIGNALED ||
                   outcome->cause == OSB_CAUSE_EXEC_FAILED;
  bool well = by_itself && outcome->leftover == 0 && !run->error.code;
  bool spare = run->kit && well && osb_kit_reset(sandbox, run->kit);
  pthread_mutex_lock(&sandbox->lock);
  if (run->kit) osb_kit_return_locked(sandbox, run->kit, spare);
  struct osb_run *failed = osb_runs_start_locked(sandbox);
  osb_kits_clean_soon_locked(sandbox);
  pthread_mutex_unlock(&sandbox->lock);
  osb_runs_deliver(failed); /* not deeper: a run that did not start gives no kit back that another would start with */
}

static void deliver(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  struct osb_outcome *outcome = &run->outcome;
  bool failed = run->error.code != 0;
  outcome->out = failed ? NULL : run->out.bytes;
  outcome->out_bytes = run->out.count;
  outcome->out_truncated = run->out.truncated;
  outcome->err = failed ? NULL : run->err.bytes;
  outcome->err_bytes = run->err.count;
  outcome->err_truncated = run->err.truncated;
  run->done(run->context, failed ? &run->error : NULL, failed ? NULL : outcome);
  pthread_mutex_lock(&sandbox->lock);
  close_streams_locked(run);
  pthread_mutex_unlock(&sandbox->lock);
  if (failed) free(run->out.bytes);
  if (failed) free(run->err.bytes);
  free(run->in.bytes);
  osb_message_free(run->exec);
  if (sandbox->engine->cgroups.driver) return_kit(run); /* only now: the caller need not wait for it */
  osb_bury(sandbox->engine, &run->grave, run);
}

void osb_runs_deliver(struct osb_run *runs) {
  while (runs) {
    struct osb_run *next = runs->next;
    deliver(runs);
    runs = next;
  }
}
