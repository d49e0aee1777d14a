/*
 * Files that the engine writes and opens inside, against commands that may change every path at any moment.
 * Paths are resolved by the kernel below "/" without magic links (/proc/self/fd/...), only regular files are
 * touched, nothing is opened in a way that could block, and /proc is no place for either.
 *
 * A write is atomic: the content goes into a sibling with a name of its own, which is then renamed over the
 * target. So a full disk leaves the old file as it was, and a reader never sees half a file. An existing file
 * keeps its mode and owner (it may be a script that was made executable); its other hard links keep the old
 * content. A target that is a symbolic link is followed here, one link at a time, so that the sibling is
 * beside the file itself.
 *
 * Content that comes in a memfd is copied by a child, so that commands' limits are kept meanwhile, and so
 * that it is the child that the OOM killer finds if the session's memory ends in the middle.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"
#include "mount-api.h"

/* As the kernel's own. */
#define MAX_LINKS 40
/* Of one sendfile; only bounds the time to an interruption. */
#define COPY_BYTES (16u << 20)
#define NEW_DIRECTORY_MODE 0755
/* Copies by children at once; what comes beyond is copied at once, by init. */
#define MAX_COPIES 32
/* A copy is memory to memory; one that takes this long was stopped by a command. */
#define COPY_TIMEOUT_NS (30 * NS_PER_S)

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
    int failed = 0;
    if (i > start && mkdirat(above, prefix + start, NEW_DIRECTORY_MODE) < 0 && errno != EEXIST)
      failed = errno;
    start = i + 1;
    close(above);
    above = open_inside(prefix, O_PATH | O_DIRECTORY);
    /* The failure to make it says why it is missing; a directory that exists needs no making. */
    if (above < 0) error = failed ? failed : errno;
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
    if (fstatat(place->directory, place->name, status, AT_SYMLINK_NOFOLLOW) < 0)
      return errno == ENOENT ? 0 : errno;
    if (!S_ISLNK(status->st_mode))
      return S_ISDIR(status->st_mode) ? EISDIR : S_ISREG(status->st_mode) ? 0 : EINVAL;
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
    ssize_t n =
        content->bytes ? write(fd, content->bytes + done, part) : sendfile(fd, content->memfd, &offset, part);
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

/* A write under way: the sibling that will take the target's name. */
struct replacement {
  uint64_t id; /* of the request */
  int directory, fd;
  char sibling[32], name[NAME_MAX + 1];
  struct stat old; /* st_mode 0: the target is new */
  uint32_t mode;   /* for a new one */
  pid_t copier;
  int64_t deadline;
};

static int begin_replacement(struct replacement *r) {
  static uint64_t serial;
  do {
    snprintf(r->sibling, sizeof r->sibling, ".osb-%llx", (unsigned long long)serial++);
    r->fd = openat(r->directory, r->sibling, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  } while (r->fd < 0 && errno == EEXIST);
  return r->fd < 0 ? errno : 0;
}

/* `error` is that of the copy so far; returns what the request ends with. */
static int end_replacement(struct replacement *r, int error) {
  if (error == 0) error = set_attributes(r->fd, &r->old, r->mode);
  if (error == 0 && renameat(r->directory, r->sibling, r->directory, r->name) < 0)
    error = errno == EBUSY ? EROFS : errno; /* a mount point: a single file that is bound read-only */
  if (error != 0) unlinkat(r->directory, r->sibling, 0);
  close(r->fd);
  close(r->directory);
  return error;
}

static bool in_proc(int fd) {
  struct statfs status;
  return fstatfs(fd, &status) < 0 || status.f_type == PROC_SUPER_MAGIC;
}

/* From the path to the open sibling. */
static int prepare_replacement(const char *path, const struct osb_file_write *request,
                               struct replacement *r) {
  struct place place;
  int error = find_place(path, request->flags, &place, &r->old);
  if (error == 0 && in_proc(place.directory)) error = EACCES;
  if (error == 0) {
    r->directory = place.directory;
    r->mode = request->mode;
    strcpy(r->name, place.name); /* fstatat has refused longer ones */
    error = begin_replacement(r);
  }
  if (error != 0 && place.directory >= 0) close(place.directory);
  return error;
}

static void answer(uint64_t id, int error, int fd) {
  struct osb_file_done done = {.error = error};
  send_packet(OSB_FILE_DONE, id, &done, sizeof done, fd);
}

/* ---- Copies by children ---- */

static struct replacement copies[MAX_COPIES];
static bool copying[MAX_COPIES];
static uint32_t copy_count;
static int32_t *copy_errors; /* shared with the children */

int init_files(void) {
  copy_errors =
      mmap(NULL, sizeof *copy_errors * MAX_COPIES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return copy_errors == MAP_FAILED ? -1 : 0;
}

static void copy_as_child(uint32_t slot, const struct content *content) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) (void)!write(fd, "1000", 4);
  copy_errors[slot] = write_content(copies[slot].fd, content);
  _exit(0);
}

/* False if it must be done without: too many, or no new process. */
static bool copy_in_child(const struct replacement *r, const struct content *content) {
  for (uint32_t slot = 0; slot < MAX_COPIES; slot++) {
    if (copying[slot]) continue;
    copies[slot] = *r;
    copy_errors[slot] = ENOMEM; /* stays if the OOM killer ends it */
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) return false;
    if (pid == 0) copy_as_child(slot, content);
    copies[slot].copier = (pid_t)pid;
    copies[slot].deadline = now_ns() + COPY_TIMEOUT_NS;
    copying[slot] = true;
    copy_count++;
    return true;
  }
  return false;
}

bool reap_copy(pid_t pid, int status) {
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++) {
    if (!copying[slot] || copies[slot].copier != pid) continue;
    int error = WIFEXITED(status) ? copy_errors[slot] : ENOMEM;
    copying[slot] = false;
    copy_count--;
    answer(copies[slot].id, end_replacement(&copies[slot], error), -1);
    return true;
  }
  return false;
}

uint32_t copies_under_way(void) { return copy_count; }

void tick_copies(int64_t now) {
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++)
    if (copying[slot] && now >= copies[slot].deadline) kill(copies[slot].copier, SIGKILL);
}

int64_t next_copy_tick(void) {
  int64_t next = INT64_MAX;
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++)
    if (copying[slot] && copies[slot].deadline < next) next = copies[slot].deadline;
  return next;
}

/* ---- Requests ---- */

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
  if (packet->nfds != (memfd ? 1u : 0u) ||
      (size_t)(rest.end - rest.at) != (memfd ? 0 : request->content_bytes))
    end_init(OSB_INIT_PACKET);
  struct replacement r = {.id = packet->header.id};
  int error = prepare_replacement(path, request, &r);
  if (error == 0 && memfd && copy_in_child(&r, &content)) return;
  if (error == 0) error = end_replacement(&r, write_content(r.fd, &content));
  answer(packet->header.id, error, -1);
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
