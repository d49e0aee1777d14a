#define _GNU_SOURCE
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroup-sweep.h"
#include "error.h"

#define PREFIX "opensandbox-"
/* Another engine's sweep holds a lock for milliseconds. */
#define LOCK_TRIES 20
#define LOCK_PAUSE_NS 10000000

static const struct osb_limits no_limits = {0, 0};

int osb_cgroup_write(int directory, const char *path, const char *file, const char *text, struct osb_error *error) {
  char full[OSB_CGROUP_PATH];
  if ((size_t)snprintf(full, sizeof full, "%s/%s", path, file) >= sizeof full)
    return osb_fail(error, ENAMETOOLONG, "cgroup path %s", path);
  int fd = openat(directory, full, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return osb_fail(error, errno, "open %s", full);
  ssize_t n = write(fd, text, strlen(text));
  int code = errno;
  close(fd);
  return n < 0 ? osb_fail(error, code, "write %s to %s", text, full) : 0;
}

static const struct osb_cgroup_driver *choose(enum osb_cgroup_choice choice) {
  char why[OSB_ERROR_TEXT];
  switch (choice) {
    case OSB_CGROUP_USE_NONE: return NULL;
    case OSB_CGROUP_USE_V1: return &osb_cgroup_v1;
    case OSB_CGROUP_USE_V2: return &osb_cgroup_v2;
    default: return osb_cgroup_detect(why, sizeof why);
  }
}

/* ---- The engine's tree ---- */

static void close_trees(struct osb_cgroups *cgroups) {
  for (size_t i = 0; i < cgroups->ntrees; i++) {
    if (cgroups->trees[i].directory >= 0) close(cgroups->trees[i].directory);
    close(cgroups->trees[i].parent);
  }
  cgroups->ntrees = 0;
  cgroups->driver = NULL;
}

/* Opened, locked, and still the directory of that name: another engine's sweep may hold the lock for a moment, and may
 * have removed what we made before we locked it. EAGAIN: try again. */
static int try_lock(struct osb_cgroups *cgroups, struct osb_tree *tree) {
  struct stat ours, named;
  if (mkdirat(tree->parent, cgroups->name, 0755) < 0 && errno != EEXIST) return errno;
  int fd = openat(tree->parent, cgroups->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? EAGAIN : errno;
  int code = flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &ours) < 0 ? errno : 0;
  if (code == 0 && fstatat(tree->parent, cgroups->name, &named, 0) < 0) code = EAGAIN;
  if (code == 0 && ours.st_ino != named.st_ino) code = EAGAIN;
  if (code) close(fd);
  else tree->directory = fd;
  return code == EWOULDBLOCK ? EAGAIN : code;
}

/* The lock on the directory says that an engine lives; it goes with the process. */
static int open_tree(struct osb_cgroups *cgroups, struct osb_tree *tree, struct osb_error *error) {
  const struct timespec pause = {0, LOCK_PAUSE_NS};
  int code = EAGAIN;
  for (int i = 0; code == EAGAIN && i < LOCK_TRIES; i++) {
    if (i > 0) nanosleep(&pause, NULL);
    code = try_lock(cgroups, tree);
  }
  if (code == EAGAIN) return osb_fail(error, EBUSY, "cgroup %s belongs to a running engine", cgroups->name);
  if (code) return osb_fail(error, code, "make and lock cgroup %s", cgroups->name);
  if (osb_cgroup_sweep(tree->directory, error) < 0) return -1;
  osb_cgroup_sweep_dead(tree->parent, PREFIX);
  return cgroups->driver->prepare(tree, ".", error);
}

int osb_cgroups_open(struct osb_cgroups *cgroups, const char *name, enum osb_cgroup_choice choice,
                     struct osb_error *error) {
  *cgroups = (struct osb_cgroups){.driver = choose(choice)};
  if ((size_t)snprintf(cgroups->name, sizeof cgroups->name, PREFIX "%s", name) >= sizeof cgroups->name ||
      !*name || strpbrk(name, "/ \n"))
    return osb_fail(error, EINVAL, "engine name must be one token of at most 80 bytes");
  if (!cgroups->driver) return 0;
  int result = cgroups->driver->open_parents(cgroups, error);
  for (size_t i = 0; result == 0 && i < cgroups->ntrees; i++) result = open_tree(cgroups, &cgroups->trees[i], error);
  if (result < 0) close_trees(cgroups);
  return result;
}

int osb_cgroups_close(struct osb_cgroups *cgroups, struct osb_error *error) {
  int result = 0;
  for (size_t i = 0; i < cgroups->ntrees; i++)
    if (unlinkat(cgroups->trees[i].parent, cgroups->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
      result = osb_fail(error, errno, "rmdir cgroup %s", cgroups->name);
  close_trees(cgroups);
  return result;
}

/* ---- Directories below it ---- */

int osb_cgroup_make(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *limits,
                    struct osb_error *error) {
  for (size_t i = 0; i < cgroups->ntrees; i++) {
    const struct osb_tree *tree = &cgroups->trees[i];
    int result = mkdirat(tree->directory, path, 0755);
    if (result < 0) osb_fail(error, errno, "mkdir cgroup %s/%s", cgroups->name, path);
    if (result == 0) result = cgroups->driver->prepare(tree, path, error);
    if (result == 0) result = cgroups->driver->set_limits(tree, path, &no_limits, limits, error);
    if (result == 0) continue;
    struct osb_error ignored; /* the first error is the one to tell */
    osb_cgroup_remove(cgroups, path, &ignored);
    return -1;
  }
  return 0;
}

int osb_cgroup_remove(const struct osb_cgroups *cgroups, const char *path, struct osb_error *error) {
  int result = 0;
  for (size_t i = 0; i < cgroups->ntrees; i++)
    if (unlinkat(cgroups->trees[i].directory, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
      result = osb_fail(error, errno, "rmdir cgroup %s/%s", cgroups->name, path);
  return result;
}

int osb_cgroup_set_limits(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *before,
                          const struct osb_limits *limits, struct osb_error *error) {
  for (size_t i = 0; i < cgroups->ntrees; i++)
    if (cgroups->driver->set_limits(&cgroups->trees[i], path, before, limits, error) < 0) return -1;
  return 0;
}

int osb_cgroup_enter(const struct osb_cgroups *cgroups, const char *path, struct osb_error *error) {
  int result = 0;
  for (size_t i = 0; result == 0 && i < cgroups->ntrees; i++)
    result = osb_cgroup_write(cgroups->trees[i].directory, path, cgroups->driver->enter, "0", error);
  if (result < 0) osb_cgroup_leave(cgroups);
  return result;
}

void osb_cgroup_leave(const struct osb_cgroups *cgroups) {
  struct osb_error ignored; /* our own cgroup takes its own thread */
  for (size_t i = 0; i < cgroups->ntrees; i++)
    osb_cgroup_write(cgroups->trees[i].parent, ".", cgroups->driver->enter, "0", &ignored);
}

int osb_cgroup_place(const struct osb_cgroups *cgroups, const char *path, pid_t pid, struct osb_error *error) {
  char text[16];
  snprintf(text, sizeof text, "%d", pid);
  for (size_t i = 0; i < cgroups->ntrees; i++)
    if (osb_cgroup_write(cgroups->trees[i].directory, path, "cgroup.procs", text, error) < 0) return -1;
  return 0;
}

static const struct osb_tree *tree_with(const struct osb_cgroups *cgroups, uint32_t controller) {
  for (size_t i = 0; i < cgroups->ntrees; i++)
    if (cgroups->trees[i].controllers & controller) return &cgroups->trees[i];
  return NULL;
}

int osb_cgroup_open_kit(const struct osb_cgroups *cgroups, const char *path, int fds[OSB_KIT_FDS],
                        uint32_t *present, struct osb_error *error) {
  const struct osb_cgroup_driver *driver = cgroups->driver;
  int count = 0;
  char full[OSB_CGROUP_PATH];
  *present = 0;
  for (size_t i = 0; i < cgroups->ntrees + driver->nkit_files; i++) {
    bool enter = i < cgroups->ntrees;
    const struct osb_kit_file *file = enter ? NULL : &driver->kit_files[i - cgroups->ntrees];
    const struct osb_tree *tree = enter ? &cgroups->trees[i] : tree_with(cgroups, file->controller);
    if (!tree) continue;
    snprintf(full, sizeof full, "%s/%s", path, enter ? driver->enter : file->name);
    int fd = openat(tree->directory, full, (enter ? O_WRONLY : file->flags) | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !enter) continue; /* an older kernel; init does without */
    if (fd < 0) {
      int code = errno;
      while (count > 0) close(fds[--count]);
      return osb_fail(error, code, "open cgroup %s/%s", cgroups->name, full);
    }
    fds[count++] = fd;
    *present |= 1u << (enter ? OSB_KIT_ENTER_0 + i : (size_t)file->fd);
  }
  return count;
}

static int reopen_procs(const struct osb_cgroups *cgroups, const char *path, int *procs, struct osb_error *error) {
  const struct osb_kit_file *file = cgroups->driver->kit_files;
  while (file->fd != OSB_KIT_PROCS) file++;
  char full[OSB_CGROUP_PATH];
  snprintf(full, sizeof full, "%s/%s", path, file->name);
  int fd = openat(tree_with(cgroups, file->controller)->directory, full, file->flags | O_CLOEXEC);
  if (fd < 0) return osb_fail(error, errno, "open cgroup %s/%s", cgroups->name, full);
  close(*procs);
  *procs = fd;
  return 0;
}

int osb_cgroup_reset(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *limits,
                     int fds[OSB_KIT_FDS], uint32_t present, struct osb_error *error) {
  int by_name[OSB_KIT_FDS], next = 0;
  for (int i = 0; i < OSB_KIT_FDS; i++) by_name[i] = present & (1u << i) ? fds[next++] : -1;
  if (cgroups->driver->reset(by_name, limits, error) < 0) return -1;
  return reopen_procs(cgroups, path, &fds[__builtin_popcount(present & ((1u << OSB_KIT_PROCS) - 1))], error);
}

static uint64_t read_number(const struct osb_tree *tree, const char *path, const char *file) {
  char full[OSB_CGROUP_PATH], text[64];
  snprintf(full, sizeof full, "%s/%s", path, file);
  int fd = tree ? openat(tree->directory, full, O_RDONLY | O_CLOEXEC) : -1;
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  /* v2 cpu.stat starts with "usage_usec 123". */
  const char *digits = strpbrk(text, "0123456789");
  return digits ? strtoull(digits, NULL, 10) : 0;
}

void osb_cgroup_usage(const struct osb_cgroups *cgroups, const char *path, uint64_t *cpu_us,
                      uint64_t *memory_peak_bytes) {
  *cpu_us = *memory_peak_bytes = 0;
  if (!cgroups->driver) return;
  uint64_t cpu = read_number(tree_with(cgroups, OSB_CPU), path, cgroups->driver->cpu);
  *cpu_us = cgroups->driver->kind == OSB_CGROUP_V1 ? cpu / 1000 : cpu;
  *memory_peak_bytes = read_number(tree_with(cgroups, OSB_MEMORY), path, cgroups->driver->memory_peak);
}
