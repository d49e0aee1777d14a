/*
 * Files that the engine writes and opens inside, against commands that may change every path at any moment. Paths are
 * resolved by the kernel below "/" without magic links (/proc/self/fd/...), only regular files are touched, nothing is
 * opened in a way that could block, and /proc is no place for either.
 *
 * A write is atomic: the content goes into a sibling with a name of its own, which is then renamed over the target. So
 * a full disk leaves the old file as it was, and a reader never sees half a file. An existing file keeps its mode and
 * owner (it may be a script that was made executable); its other hard links keep the old content. A target that is a
 * symbolic link is followed here, one link at a time, so that the sibling is beside the file itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "init.h"
#include "mount-api.h"

/* As the kernel's own. */
#define MAX_LINKS 40
/* Of one sendfile; only bounds the time to an interruption. */
#define COPY_BYTES (16u << 20)
#define NEW_DIRECTORY_MODE 0755

static int open_inside(const char *path, int flags) {
  static int root = -1;
  if (root < 0) root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return -1;
  return open_how(root, path, (uint64_t)(flags | O_CLOEXEC), 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* ---- Where a write goes ---- */

struct place {
  char path[PATH_MAX]; /* as it was last resolved */
  int directory;       /* -1, or that of `name` */
  const char *name;    /* last component, in `path` */
};

/* Opens the directory of place->path. */
static int open_parent(struct place *place) {
  char *slash = strrchr(place->path, '/');
  place->name = slash + 1;
  if (strcmp(place->name, ".") == 0 || strcmp(place->name, "..") == 0 || !*place->name) return EISDIR;
  *slash = 0;
  place->directory = open_inside(slash == place->path ? "/" : place->path, O_PATH | O_DIRECTORY);
  int error = place->directory < 0 ? errno : 0;
  *slash = '/';
  return error;
}

/* Replaces place->path by what the symbolic link `name` says. */
static int follow_link(struct place *place) {
  char target[PATH_MAX], joined[2 * PATH_MAX];
  ssize_t n = readlinkat(place->directory, place->name, target, sizeof target - 1);
  if (n < 0) return errno;
  target[n] = 0;
  int length = (int)(place->name - place->path); /* with the slash */
  n = snprintf(joined, sizeof joined, "%.*s%s", target[0] == '/' ? 0 : length, place->path, target);
  if ((size_t)n >= sizeof place->path) return ENAMETOOLONG;
  memcpy(place->path, joined, (size_t)n + 1);
  close(place->directory);
  place->directory = -1;
  return 0;
}

/* mkdir -p for the directories above the last component, through whatever links are there. */
static int make_parents(const char *path) {
  char prefix[PATH_MAX];
  size_t length = strlen(path);
  int above = open_inside("/", O_PATH | O_DIRECTORY);
  int error = above < 0 ? errno : 0;
  for (size_t start = 1, i = 1; error == 0 && i < length; i++) {
    if (path[i] != '/') continue;
    memcpy(prefix, path, i);
    prefix[i] = 0;
    if (i > start && mkdirat(above, prefix + start, NEW_DIRECTORY_MODE) < 0 && errno != EEXIST && errno != EROFS)
      error = errno;
    start = i + 1;
    close(above);
    above = open_inside(prefix, O_PATH | O_DIRECTORY);
    if (above < 0 && error == 0) error = errno;
  }
  if (above >= 0) close(above);
  return error;
}

/* Fills place and the target's status (st_mode 0: it does not exist). */
static int find_place(const char *path, uint32_t flags, struct place *place, struct stat *status) {
  place->directory = -1;
  if (path[0] != '/') return EINVAL;
  if (strlen(path) >= sizeof place->path) return ENAMETOOLONG;
  strcpy(place->path, path);
  for (int links = 0; links < MAX_LINKS; links++) {
    int error = open_parent(place);
    if (error == ENOENT && links == 0 && (flags & OSB_FILE_PARENTS)) {
      error = make_parents(place->path);
      if (error == 0) error = open_parent(place);
    }
    if (error != 0) return error;
    *status = (struct stat){0};
    if (fstatat(place->directory, place->name, status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : errno;
    if (!S_ISLNK(status->st_mode)) return S_ISDIR(status->st_mode) ? EISDIR : S_ISREG(status->st_mode) ? 0 : EINVAL;
    error = follow_link(place);
    if (error != 0) return error;
  }
  return ELOOP;
}

/* ---- Writing ---- */

struct content {
  const uint8_t *bytes; /* or, if NULL: */
  int memfd;
  uint64_t count;
};

static int write_content(int fd, const struct content *content) {
  uint64_t done = 0;
  while (done < content->count) {
    uint64_t left = content->count - done;
    size_t part = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
    off_t offset = (off_t)done;
    ssize_t n = content->bytes ? write(fd, content->bytes + done, part) : sendfile(fd, content->memfd, &offset, part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO; /* the memfd is shorter than it was said to be */
    done += (uint64_t)n;
  }
  return 0;
}

static int set_attributes(int fd, const struct stat *old, uint32_t mode) {
  if (old->st_mode == 0) return fchmod(fd, mode & 07777) < 0 ? errno : 0;
  /* Owner first: changing it clears the set-id bits. */
  if ((old->st_uid != 0 || old->st_gid != 0) && fchown(fd, old->st_uid, old->st_gid) < 0) return errno;
  return fchmod(fd, old->st_mode & 07777) < 0 ? errno : 0;
}

static int replace(const struct place *place, const struct stat *old, uint32_t mode, const struct content *content) {
  char sibling[32];
  static uint64_t serial;
  int fd;
  do {
    snprintf(sibling, sizeof sibling, ".osb-%llx", (unsigned long long)serial++);
    fd = openat(place->directory, sibling, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) return errno;
  int error = write_content(fd, content);
  if (error == 0) error = set_attributes(fd, old, mode);
  if (error == 0 && renameat(place->directory, sibling, place->directory, place->name) < 0)
    error = errno == EBUSY ? EROFS : errno; /* a mount point: a single file that is bound read-only */
  if (error != 0) unlinkat(place->directory, sibling, 0);
  close(fd);
  return error;
}

static bool in_proc(int fd) {
  struct statfs status;
  return fstatfs(fd, &status) < 0 || status.f_type == PROC_SUPER_MAGIC;
}

static int write_to(const char *path, const struct osb_file_write *request, const struct content *content) {
  struct place place;
  struct stat old;
  int error = find_place(path, request->flags, &place, &old);
  if (error == 0 && in_proc(place.directory)) error = EACCES;
  if (error == 0) error = replace(&place, &old, request->mode, content);
  if (place.directory >= 0) close(place.directory);
  return error;
}

static void answer(uint64_t id, int error, int fd) {
  struct osb_file_done done = {.error = error};
  send_packet(OSB_FILE_DONE, id, &done, sizeof done, fd);
}

/* The path of a file request; ends init if it is not as long as was said. */
static const char *read_path(struct reader *rest, uint32_t bytes) {
  const char *path = read_string(rest);
  if (!path || strlen(path) != bytes) end_init(OSB_INIT_PACKET);
  return path;
}

void write_file(struct packet *packet) {
  struct reader rest;
  const struct osb_file_write *request = read_body(packet, sizeof *request, &rest);
  const char *path = read_path(&rest, request->path_bytes);
  bool memfd = request->flags & OSB_FILE_MEMFD;
  struct content content = {.count = request->content_bytes, .memfd = memfd ? packet->fds[0] : -1};
  if (!memfd) content.bytes = rest.at;
  if (packet->nfds != (memfd ? 1u : 0u) || (size_t)(rest.end - rest.at) != (memfd ? 0 : request->content_bytes))
    end_init(OSB_INIT_PACKET);
  answer(packet->header.id, write_to(path, request, &content), -1);
}

/* ---- Opening ---- */

static int check_opened(int fd, uint32_t flags) {
  struct stat status;
  if (fstat(fd, &status) < 0) return errno;
  if (in_proc(fd)) return EACCES; /* it would be read with init's rights, not the commands' */
  if (flags & OSB_FILE_DIRECTORY) return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
  return S_ISDIR(status.st_mode) ? EISDIR : S_ISREG(status.st_mode) ? 0 : EINVAL;
}

void open_file(struct packet *packet) {
  struct reader rest;
  const struct osb_file_open *request = read_body(packet, sizeof *request, &rest);
  const char *path = read_path(&rest, request->path_bytes);
  if (rest.at != rest.end || packet->nfds != 0) end_init(OSB_INIT_PACKET);
  int fd = -1, error = path[0] == '/' ? 0 : EINVAL;
  if (error == 0) {
    int kind = request->flags & OSB_FILE_DIRECTORY ? O_DIRECTORY : 0;
    fd = open_inside(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | kind);
    error = fd < 0 ? errno : check_opened(fd, request->flags);
  }
  /* A socket's name cannot be opened at all. */
  if (error == ENXIO) error = EINVAL;
  if (error != 0 && fd >= 0) {
    close(fd);
    fd = -1;
  }
  answer(packet->header.id, error, fd);
}
