/* cgroup v1 (and hybrid hosts, whose unified hierarchy has no controllers): memory, pids and cpuacct, each in its own
 * hierarchy or sharing one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "error.h"

#define UNLIMITED "-1"
/* Charged to a cgroup without processes: what the kernel charges ahead for each CPU (64 pages), some page cache and
 * inodes. More belongs to files that a command left; then its cgroup is not used again. */
#define MAX_RESIDUE_BYTES (1u << 20)

static const struct {
  enum osb_controller bit;
  const char *name;
} controllers[] = {{OSB_MEMORY, "memory"}, {OSB_PIDS, "pids"}, {OSB_CPU, "cpuacct"}};

static int open_parents(struct osb_cgroups *cgroups, struct osb_error *error) {
  char seen[OSB_CGROUP_TREES][512];
  for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
    char path[512];
    if (osb_cgroup_own(controllers[i].name, path, sizeof path, error) < 0) {
      if (error->code == ENOENT && controllers[i].bit != OSB_MEMORY) continue; /* said by osb_host_inspect */
      return -1;
    }
    size_t tree = 0;
    while (tree < cgroups->ntrees && strcmp(seen[tree], path) != 0) tree++;
    if (tree == cgroups->ntrees) {
      int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (fd < 0) return osb_fail(error, errno, "open %s", path);
      memcpy(seen[tree], path, sizeof path);
      cgroups->trees[cgroups->ntrees++] = (struct osb_tree){.parent = fd, .directory = -1};
    }
    cgroups->trees[tree].controllers |= controllers[i].bit;
  }
  return 0;
}

static int prepare(const struct osb_tree *tree, const char *path, struct osb_error *error) {
  if (!(tree->controllers & OSB_MEMORY)) return 0;
  /* Anonymous memory is never swapped for the sandbox, with or without swap accounting; kernels without the file
   * (or with CONFIG_SWAP off) have nothing to turn off. */
  if (osb_cgroup_write(tree->directory, path, "memory.swappiness", "0", error) < 0 && error->code != ENOENT &&
      error->code != EOPNOTSUPP)
    return -1;
  return 0;
}

/* memsw must never be below memory: raising starts with memsw, lowering with memory. */
static int set_memory(const struct osb_tree *tree, const char *path, uint64_t before, uint64_t after,
                      struct osb_error *error) {
  static const char *const raising[] = {"memory.memsw.limit_in_bytes", "memory.limit_in_bytes"};
  static const char *const lowering[] = {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"};
  char text[24] = UNLIMITED;
  if (after) snprintf(text, sizeof text, "%llu", (unsigned long long)after);
  bool raise = after == 0 || (before != 0 && after > before);
  const char *const *order = raise ? raising : lowering;
  for (int i = 0; i < 2; i++) {
    if (osb_cgroup_write(tree->directory, path, order[i], text, error) == 0) continue;
    /* Kernels booted without swap accounting have no memsw. */
    if (error->code == ENOENT && strstr(order[i], "memsw")) continue;
    return -1;
  }
  return 0;
}

static int set_limits(const struct osb_tree *tree, const char *path, const struct osb_limits *before,
                      const struct osb_limits *limits, struct osb_error *error) {
  if ((tree->controllers & OSB_MEMORY) && limits->memory_bytes != before->memory_bytes &&
      set_memory(tree, path, before->memory_bytes, limits->memory_bytes, error) < 0)
    return -1;
  if (!(tree->controllers & OSB_PIDS) || limits->processes == before->processes) return 0;
  char text[16] = "max";
  if (limits->processes) snprintf(text, sizeof text, "%u", limits->processes);
  return osb_cgroup_write(tree->directory, path, "pids.max", text, error);
}

static int put(int fd, const char *text, const char *what, struct osb_error *error) {
  if (fd >= 0 && pwrite(fd, text, strlen(text), 0) < 0) return osb_fail(error, errno, "reset %s", what);
  return 0;
}

static int reset(const int fds[OSB_KIT_FDS], const struct osb_limits *limits, struct osb_error *error) {
  /* The peak starts again at what is charged now, and so tells it. */
  char text[24] = "";
  int peak = fds[OSB_KIT_MEM_PEAK];
  if (put(peak, "0", "memory.max_usage_in_bytes", error) < 0) return -1;
  if (peak >= 0 && pread(peak, text, sizeof text - 1, 0) <= 0) return osb_fail(error, errno, "read memory.max_usage_in_bytes");
  if (strtoull(text, NULL, 10) > MAX_RESIDUE_BYTES) return osb_fail(error, ENOTEMPTY, "memory is charged to a used cgroup");
  if (put(fds[OSB_KIT_CPU], "0", "cpuacct.usage", error) < 0) return -1;
  /* May be 0: init's way to end a command. */
  snprintf(text, sizeof text, "%u", limits->processes);
  return put(fds[OSB_KIT_PIDS_MAX], limits->processes ? text : "max", "pids.max", error);
}

/* ENTER_0.. are opened for every tree by osb_cgroup_open_kit. Writing is for reset. */
static const struct osb_kit_file kit_files[] = {
    {OSB_KIT_CPU, OSB_CPU, "cpuacct.usage", O_RDWR},
    {OSB_KIT_MEM_PEAK, OSB_MEMORY, "memory.max_usage_in_bytes", O_RDWR},
    {OSB_KIT_MEM_EVENTS, OSB_MEMORY, "memory.oom_control", O_RDONLY},
    {OSB_KIT_PIDS_MAX, OSB_PIDS, "pids.max", O_WRONLY},
    {OSB_KIT_PROCS, OSB_MEMORY, "cgroup.procs", O_RDONLY},
};

const struct osb_cgroup_driver osb_cgroup_v1 = {
    .kind = OSB_CGROUP_V1,
    .report = "cgroup1",
    .open_parents = open_parents,
    .prepare = prepare,
    .set_limits = set_limits,
    .by_birth = true,
    .reset = reset,
    .kit_files = kit_files,
    .nkit_files = sizeof kit_files / sizeof *kit_files,
    .enter = "tasks",
    .cpu = "cpuacct.usage",
    .memory_peak = "memory.max_usage_in_bytes",
};
