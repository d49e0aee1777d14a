/* The atomic replacement of a file: content and attributes go to a sibling, which then takes the name. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* Of one sendfile; only bounds the time to an interruption. */
#define COPY_BYTES (16u << 20)

int write_content(int fd, const struct content *content) {
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

static int begin_replacement(struct replacement *r) {
  static uint64_t serial;
  do {
    snprintf(r->sibling, sizeof r->sibling, ".osb-%llx", (unsigned long long)serial++);
    r->fd = openat(r->directory, r->sibling, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  } while (r->fd < 0 && errno == EEXIST);
  return r->fd < 0 ? errno : 0;
}

int end_replacement(struct replacement *r, int error) {
  if (error == 0) error = set_attributes(r->fd, &r->old, r->mode);
  if (error == 0 && renameat(r->directory, r->sibling, r->directory, r->name) < 0)
    error = errno == EBUSY ? EROFS : errno; /* a mount point: a single file that is bound read-only */
  if (error != 0) unlinkat(r->directory, r->sibling, 0);
  close(r->fd);
  close(r->directory);
  return error;
}

int prepare_replacement(const char *path, const struct osb_file_write *request, struct replacement *r) {
  struct place place;
  int error = find_place(path, request->flags, &place, &r->old);
  if (error == 0 && in_proc(place.directory)) error = EACCES;
  if (error == 0) {
    r->directory = place.directory;
    r->mode = request->mode;
    strcpy(r->name, place.name); /* at most NAME_MAX: open_parent */
    error = begin_replacement(r);
  }
  if (error != 0 && place.directory >= 0) close(place.directory);
  return error;
}
