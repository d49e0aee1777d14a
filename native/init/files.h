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
#ifndef OSB_INIT_FILES_H
#define OSB_INIT_FILES_H

#include <limits.h>
#include <sys/stat.h>

#include "init.h"

/* ---- file-place.c: paths of the inside ---- */
struct place {
  char path[PATH_MAX]; /* as it was last resolved */
  int directory;       /* -1, or that of `name` */
  const char *name;    /* last component, in `path` */
};
/* As open(2) of an absolute path, close-on-exec, without magic links. */
int open_inside(const char *path, int flags);
bool in_proc(int fd);
/* Where a write to `path` goes: fills place and the target's status (st_mode 0: it does not exist). 0 or an
 * errno; in either case the caller closes place->directory if it is open. */
int find_place(const char *path, uint32_t flags, struct place *place, struct stat *status);

/* ---- file-replacement.c: a write, from the sibling to the rename ---- */
struct content {
  const uint8_t *bytes; /* or, if NULL: */
  int memfd;
  uint64_t count;
};
/* A write under way: the sibling that will take the target's name. */
struct replacement {
  uint64_t id; /* of the request */
  int directory, fd;
  char sibling[32], name[NAME_MAX + 1];
  struct stat old; /* st_mode 0: the target is new */
  uint32_t mode;   /* for a new one */
};
/* From the path to the open sibling. 0, or an errno and nothing is open. */
int prepare_replacement(const char *path, const struct osb_file_write *request, struct replacement *r);
int write_content(int fd, const struct content *content);
/* `error` is that of the copy so far; returns what the request ends with. */
int end_replacement(struct replacement *r, int error);

/* ---- file-copies.c: writes that a child does ---- */
/* False if it must be done without: too many, or no new process. */
bool copy_in_child(const struct replacement *r, const struct content *content);

/* ---- file-requests.c ---- */
void answer_file(uint64_t id, int error, int fd);

#endif
