/*
 * Where limits are kept: one tree for each engine,
 *
 *   <mount>/<own path>/opensandbox-<name>/s<sandbox>/r<kit>
 *
 * in every hierarchy that is used (v1: memory, pids, cpuacct, as many as they are mounted in; v2: one). s<sandbox> holds
 * init, each r<kit> one command. The drivers only know what the files are called and in which order they are written.
 * Nothing here locks or remembers: callers are the builder thread, and for set_limits whoever sends the EXEC.
 */
#ifndef OSB_CGROUP_H
#define OSB_CGROUP_H

#include <sys/types.h>

#include "../protocol.h"
#include "engine.h"

#define OSB_CGROUP_TREES 3
/* "s<20 digits>/r<10 digits>/memory.memsw.limit_in_bytes" and then some. */
#define OSB_CGROUP_PATH 128

enum osb_controller { OSB_MEMORY = 1, OSB_PIDS = 2, OSB_CPU = 4 };

struct osb_tree {
  uint32_t controllers; /* bits of enum osb_controller */
  int directory;        /* of the engine: opensandbox-<name> */
  int parent;           /* where that is, to remove it */
};

struct osb_limits {
  uint64_t memory_bytes; /* 0 = none */
  uint32_t processes;    /* 0 = none */
};

struct osb_cgroups {
  const struct osb_cgroup_driver *driver; /* NULL: this host has none */
  char name[96];                          /* opensandbox-<name> */
  struct osb_tree trees[OSB_CGROUP_TREES];
  size_t ntrees;
};

/* One name of a file that a kit's descriptor `fd` is opened from. */
struct osb_kit_file {
  enum osb_kit_fd fd;
  enum osb_controller controller; /* the tree that has it */
  const char *name;
  int flags;
};

struct osb_cgroup_driver {
  uint32_t kind; /* enum osb_cgroup_kind */
  const char *report; /* "cgroup1" */
  /* Finds and opens the trees' parents, ready to make children with the controllers in. */
  int (*open_parents)(struct osb_cgroups *cgroups, struct osb_error *error);
  /* What every new directory of a tree needs before it has members. */
  int (*prepare)(const struct osb_tree *tree, const char *path, struct osb_error *error);
  /* `before`: what is in force, so that no step is refused for the order in which the files are written. */
  int (*set_limits)(const struct osb_tree *tree, const char *path, const struct osb_limits *before,
                    const struct osb_limits *limits, struct osb_error *error);
  /* Makes the cgroup of an open kit, empty again, as good as new: counters at 0, limits in force. `fds`: by enum
   * osb_kit_fd, -1 = none. ENOTEMPTY if more than a little is still charged to it. NULL: this kind cannot. */
  int (*reset)(const int fds[OSB_KIT_FDS], const struct osb_limits *limits, struct osb_error *error);
  const struct osb_kit_file *kit_files;
  size_t nkit_files;
  /* A process comes into its cgroup by being born there. To move another process the kernel has to stop all forks and
   * exits of the machine, some milliseconds for each hierarchy; one's own thread moves in microseconds. */
  bool by_birth;
  const char *init_leaf; /* below s<sandbox>, where init lives; NULL: in it */
  const char *enter;  /* the file that one's own "0" is written to */
  const char *cpu, *memory_peak; /* read from outside when init cannot tell any more */
};

extern const struct osb_cgroup_driver osb_cgroup_v1, osb_cgroup_v2;

/* Chooses the driver, sweeps a dead engine's tree, makes our own. Without cgroups: driver NULL, success. */
int osb_cgroups_open(struct osb_cgroups *cgroups, const char *name, enum osb_cgroup_choice choice,
                     struct osb_error *error);
int osb_cgroups_close(struct osb_cgroups *cgroups, struct osb_error *error);
/* The driver that `open` would choose; NULL and a reason if none. */
const struct osb_cgroup_driver *osb_cgroup_detect(char *why_none, size_t size);

int osb_cgroup_make(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *limits,
                    struct osb_error *error);
/* 0 also when it is not there; EBUSY while something is in it. */
int osb_cgroup_remove(const struct osb_cgroups *cgroups, const char *path, struct osb_error *error);
int osb_cgroup_set_limits(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *before,
                          const struct osb_limits *limits, struct osb_error *error);
/* For a kit whose command is gone. Also opens its PROCS again: v1 shows the members of then for a second to whoever has
 * read the file before. */
int osb_cgroup_reset(const struct osb_cgroups *cgroups, const char *path, const struct osb_limits *limits,
                     int fds[OSB_KIT_FDS], uint32_t present, struct osb_error *error);
/* The calling thread alone goes there, and back to where the process is: what it starts meanwhile is born there. Only
 * where the driver says `by_birth`. */
int osb_cgroup_enter(const struct osb_cgroups *cgroups, const char *path, struct osb_error *error);
void osb_cgroup_leave(const struct osb_cgroups *cgroups);
int osb_cgroup_place(const struct osb_cgroups *cgroups, const char *path, pid_t pid, struct osb_error *error);
/* Opens a kit's files in the order of enum osb_kit_fd: `fds` and the bits that say which. Returns how many. */
int osb_cgroup_open_kit(const struct osb_cgroups *cgroups, const char *path, int fds[OSB_KIT_FDS],
                        uint32_t *present, struct osb_error *error);
void osb_cgroup_usage(const struct osb_cgroups *cgroups, const char *path, uint64_t *cpu_us,
                      uint64_t *memory_peak_bytes);

/* For drivers. */
int osb_cgroup_write(int directory, const char *path, const char *file, const char *text, struct osb_error *error);
/* Opens the directory of our own cgroup in the hierarchy that is mounted with `controller` (v1) or NULL (v2). ENOENT if
 * there is none. */
int osb_cgroup_own(const char *controller, char *text, size_t size, struct osb_error *error);

#endif
