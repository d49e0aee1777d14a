/* File calls: init resolves the path inside and hands out a descriptor or does the write; what is read from the
 * descriptor is read out here, within bounds and without trusting what it is. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
/* What a growing file is read in, beyond its size at first. */
#define READ_AHEAD_BYTES 65536

/* ---- Answers to the caller ---- */

static void free_call(struct osb_call *call) {
  if (call->fd >= 0) close(call->fd);
  free(call);
}

static void finish(struct osb_call *call) {
  const struct osb_error *error = call->error.code ? &call->error : NULL;
  switch (call->kind) {
    case OSB_CALL_READ: call->was_read(call->context, error, NULL, 0); break;
    case OSB_CALL_LIST: call->listed(call->context, error, NULL, 0); break;
    default: call->done(call->context, error); break;
  }
  free_call(call);
}

void osb_call_fail(struct osb_call *call, int code, const char *why) {
  static const char *const verbs[] = {"write", "read", "list", "check"};
  osb_fail(&call->error, code, "%s %.180s: %s", verbs[call->kind], call->path, why ? why : strerror(code));
  finish(call);
}

/* ---- Reading a file ---- */

static int check_file(struct osb_call *call, struct stat *stat) {
  struct statfs fs;
  int flags = fcntl(call->fd, F_GETFL);
  if (fstat(call->fd, stat) < 0 || fstatfs(call->fd, &fs) < 0 || flags < 0) return errno;
  /* A FUSE server inside could keep us waiting for ever. */
  if (!S_ISREG(stat->st_mode) || (unsigned long)fs.f_type == FUSE_SUPER_MAGIC) return EINVAL;
  if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH)) return EINVAL;
  if (stat->st_size > 0 && (uint64_t)stat->st_size > call->limit) return EFBIG;
  return 0;
}

/* Until end of file, for the file may grow meanwhile. One byte more than the limit tells that it is too large. */
static int read_all(struct osb_call *call, size_t size, uint8_t **result, size_t *count) {
  size_t room = size + 1, at = 0;
  uint8_t *bytes = malloc(room);
  if (!bytes) return ENOMEM;
  for (;;) {
    ssize_t n = pread(call->fd, bytes + at, room - at, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    int code = n < 0 ? errno : at + (size_t)n > call->limit ? EFBIG : 0;
    if (code) {
      free(bytes);
      return code;
    }
    if (n == 0) break;
    at += (size_t)n;
    if (at < room) continue;
    uint8_t *grown = realloc(bytes, room + READ_AHEAD_BYTES);
    if (!grown) {
      free(bytes);
      return ENOMEM;
    }
    bytes = grown;
    room += READ_AHEAD_BYTES;
  }
  *result = bytes;
  *count = at;
  return 0;
}

static void read_file(struct osb_call *call) {
  struct stat stat;
  uint8_t *bytes = NULL;
  size_t count = 0;
  int code = check_file(call, &stat);
  if (code == 0) code = read_all(call, (size_t)stat.st_size, &bytes, &count);
  if (code) {
    osb_call_fail(call, code, NULL);
    return;
  }
  call->was_read(call->context, NULL, bytes, count);
  free_call(call);
}

/* ---- Listing a directory ---- */

struct listing {
  struct osb_entry *entries;
  size_t count, room;
};

static int add_entry(struct listing *listing, int directory, const char *name) {
  struct stat stat;
  if (fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : errno; /* just removed */
  if (listing->count == listing->room) {
    size_t room = listing->room ? listing->room * 2 : 64;
    struct osb_entry *grown = realloc(listing->entries, room * sizeof *grown);
    if (!grown) return ENOMEM;
    listing->entries = grown;
    listing->room = room;
  }
  char *copy = strdup(name);
  if (!copy) return ENOMEM;
  listing->entries[listing->count++] =
      (struct osb_entry){.name = copy, .is_directory = S_ISDIR(stat.st_mode), .size = (uint64_t)stat.st_size};
  return 0;
}

static int list_all(struct osb_call *call, struct listing *listing) {
  struct statfs fs;
  if (fstatfs(call->fd, &fs) < 0) return errno;
  if ((unsigned long)fs.f_type == FUSE_SUPER_MAGIC) return EINVAL;
  DIR *dir = fdopendir(call->fd);
  if (!dir) return errno;
  call->fd = -1; /* dir's now */
  int code = 0;
  while (code == 0) {
    errno = 0;
    struct dirent *entry = readdir(dir);
    if (!entry) code = errno;
    if (!entry) break;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    code = listing->count >= call->limit ? EOVERFLOW : add_entry(listing, dirfd(dir), entry->d_name);
  }
  closedir(dir);
  return code;
}

static void list_directory(struct osb_call *call) {
  struct listing listing = {0};
  int code = list_all(call, &listing);
  if (code == 0) call->listed(call->context, NULL, listing.entries, listing.count);
  for (size_t i = 0; i < listing.count; i++) free(listing.entries[i].name);
  free(listing.entries);
  if (code) osb_call_fail(call, code, NULL);
  else free_call(call);
}

/* ---- What init answered ---- */

static void on_builder(struct osb_job *job) {
  struct osb_call *call = (struct osb_call *)job;
  if (call->kind == OSB_CALL_READ) read_file(call);
  else list_directory(call);
}

struct osb_call *osb_call_take_locked(struct osb_sandbox *sandbox, uint64_t id) {
  struct osb_call **at = &sandbox->calls;
  while (*at && (*at)->id != id) at = &(*at)->next;
  struct osb_call *call = *at;
  if (!call) return NULL;
  *at = call->next;
  sandbox->ncalls--;
  return call;
}

/* `fd` is the call's from here on, -1 if none came. That exactly the wanted ones came was checked. */
void osb_call_answered(struct osb_engine *engine, struct osb_call *call, int error, int fd) {
  call->fd = fd;
  struct stat stat;
  if (error) {
    osb_call_fail(call, error, NULL);
  } else if (call->kind == OSB_CALL_WRITE || call->kind == OSB_CALL_CHECK) {
    finish(call);
  } else if (call->kind == OSB_CALL_READ && fstat(fd, &stat) == 0 && stat.st_size <= OSB_SMALL_FILE) {
    read_file(call);
  } else {
    call->job.run = on_builder;
    osb_job_push(engine, &call->job, OSB_LATER);
  }
}

/* ---- Requests ---- */

static struct osb_call *call_new(enum osb_call_kind kind, const char *path, uint64_t limit, void *context) {
  size_t size = strlen(path) + 1;
  struct osb_call *call = calloc(1, sizeof *call + size);
  if (!call) abort();
  memcpy(call->path, path, size);
  call->kind = kind;
  call->limit = limit;
  call->fd = -1;
  call->context = context;
  call->deadline_ms = osb_now_ms() + OSB_FILE_MS;
  return call;
}

/* Takes call and message over. */
static void submit(struct osb_engine *engine, uint64_t handle, struct osb_call *call, struct osb_message *message) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  int code = sandbox ? 0 : ESRCH;
  const char *why = "the sandbox has ended";
  if (sandbox) {
    pthread_mutex_lock(&sandbox->lock);
    if (sandbox->state != OSB_IS_READY) code = ESRCH;
    else if (sandbox->ncalls >= OSB_MAX_CALLS) code = EAGAIN, why = "too many file calls are under way";
    if (code == 0) {
      call->id = ++sandbox->last_id;
      call->next = sandbox->calls;
      sandbox->calls = call;
      sandbox->ncalls++;
      osb_send_locked(sandbox, message, call->id);
    }
    pthread_mutex_unlock(&sandbox->lock);
    osb_sandbox_drop(sandbox);
  }
  if (code == 0) return;
  osb_message_free(message);
  osb_call_fail(call, code, why);
}

/* Content that does not fit into a packet goes through a memfd. */
static struct osb_message *write_message(const char *path, const uint8_t *content, size_t count,
                                         struct osb_error *error) {
  size_t path_bytes = strlen(path);
  bool by_memfd = path_bytes + 1 + count > OSB_MAX_INLINE;
  struct osb_file_write body = {.content_bytes = count,
                                .mode = 0644,
                                .flags = OSB_FILE_PARENTS | (by_memfd ? OSB_FILE_MEMFD : 0),
                                .path_bytes = (uint32_t)path_bytes};
  struct osb_message *message =
      osb_message_new(OSB_FILE_WRITE, &body, sizeof body, path_bytes + 1 + (by_memfd ? 0 : count));
  uint8_t *variable = osb_message_variable(message, sizeof body);
  memcpy(variable, path, path_bytes + 1);
  if (!by_memfd) {
    if (count) memcpy(variable + path_bytes + 1, content, count);
    return message;
  }
  int fd = osb_memfd(error);
  if (fd >= 0) message->fds[message->nfds++] = fd;
  if (fd >= 0 && osb_memfd_fill(fd, content, count, error) == 0 && osb_memfd_seal(fd, error) == 0) return message;
  osb_message_free(message);
  return NULL;
}

/* A path that no kernel takes. */
static bool is_too_long(struct osb_call *call) {
  if (strlen(call->path) < PATH_MAX) return false;
  osb_call_fail(call, ENAMETOOLONG, NULL);
  return true;
}

void osb_file_write(struct osb_engine *engine, uint64_t sandbox, const char *path, const uint8_t *content,
                    size_t count, osb_done *done, void *context) {
  struct osb_call *call = call_new(OSB_CALL_WRITE, path, 0, context);
  call->done = done;
  if (is_too_long(call)) return;
  struct osb_error error;
  struct osb_message *message = write_message(path, content, count, &error);
  if (message) submit(engine, sandbox, call, message);
  else osb_call_fail(call, error.code, error.text);
}

static void open_inside(struct osb_engine *engine, uint64_t sandbox, struct osb_call *call) {
  if (is_too_long(call)) return;
  size_t size = strlen(call->path);
  struct osb_file_open body = {.flags = call->kind == OSB_CALL_READ ? 0 : OSB_FILE_DIRECTORY,
                               .path_bytes = (uint32_t)size};
  struct osb_message *message = osb_message_new(OSB_FILE_OPEN, &body, sizeof body, size + 1);
  memcpy(osb_message_variable(message, sizeof body), call->path, size + 1);
  submit(engine, sandbox, call, message);
}

void osb_file_read(struct osb_engine *engine, uint64_t sandbox, const char *path, uint64_t max_bytes,
                   osb_was_read *done, void *context) {
  struct osb_call *call = call_new(OSB_CALL_READ, path, max_bytes, context);
  call->was_read = done;
  open_inside(engine, sandbox, call);
}

void osb_directory_list(struct osb_engine *engine, uint64_t sandbox, const char *path, uint32_t max_entries,
                        osb_listed *done, void *context) {
  struct osb_call *call = call_new(OSB_CALL_LIST, path, max_entries, context);
  call->listed = done;
  open_inside(engine, sandbox, call);
}

void osb_directory_check(struct osb_engine *engine, uint64_t sandbox, const char *path, osb_done *done,
                         void *context) {
  struct osb_call *call = call_new(OSB_CALL_CHECK, path, 0, context);
  call->done = done;
  open_inside(engine, sandbox, call);
}
