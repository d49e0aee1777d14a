/* The pipes of a run: opened for it, drained and fed while it runs, bounded in memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* Read at once from one pipe before others have their turn; also the default capacity of a pipe. */
#define CHUNK_BYTES 65536
#define CHUNKS_PER_TURN 16
/* Of the last reading: what a pipe can hold (fs.pipe-max-size), so that a writer who is still there cannot keep us. */
#define LAST_CHUNKS 16

/* ---- Reading and writing ---- */

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

void osb_run_close_streams_locked(struct osb_run *run) {
  struct osb_stream *streams[] = {&run->out, &run->err, &run->in};
  for (int i = 0; i < 3; i++) {
    osb_watch_close(&streams[i]->watch);
    if (streams[i]->writer >= 0) close(streams[i]->writer);
    streams[i]->writer = -1;
  }
}

/* ---- Opening ---- */

void osb_run_init_streams(struct osb_run *run, uint64_t output_bytes) {
  struct osb_stream *streams[] = {&run->out, &run->err, &run->in};
  for (int i = 0; i < 3; i++) {
    streams[i]->run = run;
    streams[i]->watch.fd = streams[i]->writer = -1;
    streams[i]->watch.on_event = i < 2 ? on_output : on_input_room;
    streams[i]->limit = output_bytes;
  }
}

/* A pipe belongs to who makes it. Given to the sandbox's root, /dev/stdout and /dev/stderr can be opened inside. */
static int give_away(const struct osb_run *run, int fd, struct osb_error *error) {
  uint32_t id = osb_first_id(run->sandbox);
  return fchown(fd, id, id) < 0 ? osb_fail(error, errno, "fchown of a pipe") : 0;
}

int osb_run_open_output(struct osb_stream *stream, struct osb_message *exec, struct osb_error *error) {
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

int osb_run_open_input(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error) {
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

int osb_run_watch_streams(struct osb_run *run) {
  struct osb_engine *engine = run->sandbox->engine;
  if (osb_watch_add(engine, &run->out.watch, EPOLLIN, &run->error) < 0) return -1;
  if (osb_watch_add(engine, &run->err.watch, EPOLLIN, &run->error) < 0) return -1;
  return run->in.watch.fd < 0 ? 0 : osb_watch_add(engine, &run->in.watch, EPOLLOUT, &run->error);
}
