/* Paths of the inside: opening them, and finding where a write goes. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "mount-api.h"

/* As the kernel's own. */
#define MAX_LINKS 40
#define NEW_DIRECTORY_MODE 0755

/* "/" is the root of our mount namespace: nothing is above it, so ".." needs no watch. RESOLVE_IN_ROOT would
 * keep one, and fail with EAGAIN when anything is renamed or mounted meanwhile, anywhere on the machine. */
int open_inside(const char *path, int flags) {
  return open_how(AT_FDCWD, path, (uint64_t)(flags | O_CLOEXEC), 0, RESOLVE_NO_MAGICLINKS);
}

bool in_proc(int fd) {
  struct statfs status;
  return fstatfs(fd, &status) < 0 || status.f_type == PROC_SUPER_MAGIC;
}

/* Opens the directory of place->path. */
static int open_parent(struct place *place) {
  char *slash = strrchr(place->path, '/');
  place->name = slash + 1;
  /* Longer names than Linux's own bound exist on some file systems (FUSE), but no sibling for them. */
  if (strlen(place->name) > NAME_MAX) return ENAMETOOLONG;
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

int find_place(const char *path, uint32_t flags, struct place *place, struct stat *status) {
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
