/*
 * cgroup v2. A group with controllers in its subtree may have no processes of its own ("no internal processes"), except
 * the root. So whoever lives in our own group (the worker, its parent shell) is moved into a leaf below it first, and
 * then the controllers are handed down. Under systemd that needs Delegate=yes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "error.h"

#define LEAF "opensandbox-worker"
/* Processes started while we move the others are found by the next pass. */
#define MOVE_PASSES 10

static int move_into_leaf(int own, struct osb_error *error) {
  if (mkdirat(own, LEAF, 0755) < 0 && errno != EEXIST) return osb_fail(error, errno, "mkdir %s in our cgroup", LEAF);
  for (int pass = 0; pass < MOVE_PASSES; pass++) {
    int fd = openat(own, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *procs = fd < 0 ? NULL : fdopen(fd, "r");
    if (!procs) return osb_fail(error, errno, "open our cgroup.procs");
    int moved = 0, pid;
    while (fscanf(procs, "%d", &pid) == 1) {
      char text[16];
      snprintf(text, sizeof text, "%d", pid);
      moved++;
      if (osb_cgroup_write(own, LEAF, "cgroup.procs", text, error) < 0 && error->code != ESRCH) {
        fclose(procs);
        return -1;
      }
    }
    fclose(procs);
    if (moved == 0) return 0;
  }
  return osb_fail(error, EBUSY, "our cgroup still has processes of its own; run the worker in a cgroup of its own");
}

static uint32_t controllers_of(int directory, const char *file) {
  char text[512];
  int fd = openat(directory, file, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n < 0) return 0;
  text[n] = 0;
  uint32_t found = 0;
  for (char *rest = text, *word; (word = strsep(&rest, " \n"));) {
    if (strcmp(word, "memory") == 0) found |= OSB_MEMORY;
    if (strcmp(word, "pids") == 0) found |= OSB_PIDS;
  }
  return found;
}

static int hand_down(int directory, const char *path, uint32_t controllers, struct osb_error *error) {
  if ((controllers & OSB_MEMORY) && osb_cgroup_write(directory, path, "cgroup.subtree_control", "+memory", error) < 0)
    return -1;
  if ((controllers & OSB_PIDS) && osb_cgroup_write(directory, path, "cgroup.subtree_control", "+pids", error) < 0)
    return -1;
  return 0;
}

static int open_parents(struct osb_cgroups *cgroups, struct osb_error *error) {
  char path[512];
  if (osb_cgroup_own(NULL, path, sizeof path, error) < 0) return -1;
  /* A second engine of a process that has moved. */
  char *last = strrchr(path, '/');
  if (last && strcmp(last + 1, LEAF) == 0) *last = 0;
  int own = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return osb_fail(error, errno, "open %s", path);
  /* cpu.stat counts CPU time without the cpu controller, which would only cost scheduling. */
  uint32_t have = controllers_of(own, "cgroup.controllers");
  cgroups->trees[cgroups->ntrees++] =
      (struct osb_tree){.controllers = have | OSB_CPU, .parent = own, .directory = -1};
  if ((controllers_of(own, "cgroup.subtree_control") & have) == have) return 0;
  /* Only the hierarchy's root has no cgroup.type. */
  if (faccessat(own, "cgroup.type", F_OK, 0) == 0 && move_into_leaf(own, error) < 0) return -1;
  return hand_down(own, ".", have, error);
}

/* The path of a directory whose children need controllers: the tree's own and s<sandbox>, but not r<kit>. A kit's
 * parent s<sandbox> would then hold init itself, which the kernel forbids; so init lives in s<sandbox>/init. */
static int prepare(const struct osb_tree *tree, const char *path, struct osb_error *error) {
  uint32_t have = tree->controllers & (OSB_MEMORY | OSB_PIDS);
  bool leaf = strchr(path, '/') != NULL;
  if (!leaf && hand_down(tree->directory, path, have, error) < 0) return -1;
  if (!(have & OSB_MEMORY) || strcmp(path, ".") == 0) return 0;
  if (osb_cgroup_write(tree->directory, path, "memory.swap.max", "0", error) < 0 && error->code != ENOENT) return -1;
  return leaf ? osb_cgroup_write(tree->directory, path, "memory.oom.group", "1", error) : 0;
}

static int set_limits(const struct osb_tree *tree, const char *path, const struct osb_limits *before,
                      const struct osb_limits *limits, struct osb_error *error) {
  char text[24];
  if ((tree->controllers & OSB_MEMORY) && limits->memory_bytes != before->memory_bytes) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)limits->memory_bytes);
    if (osb_cgroup_write(tree->directory, path, "memory.max", limits->memory_bytes ? text : "max", error) < 0)
      return -1;
  }
  if (!(tree->controllers & OSB_PIDS) || limits->processes == before->processes) return 0;
  snprintf(text, sizeof text, "%u", limits->processes);
  return osb_cgroup_write(tree->directory, path, "pids.max", limits->processes ? text : "max", error);
}

static const struct osb_kit_file kit_files[] = {
    {OSB_KIT_CPU, OSB_CPU, "cpu.stat", O_RDONLY},
    {OSB_KIT_MEM_PEAK, OSB_MEMORY, "memory.peak", O_RDONLY}, /* since Linux 5.19 */
    {OSB_KIT_MEM_EVENTS, OSB_MEMORY, "memory.events", O_RDONLY},
    {OSB_KIT_PIDS_MAX, OSB_PIDS, "pids.max", O_WRONLY},
    {OSB_KIT_PROCS, OSB_CPU, "cgroup.procs", O_RDONLY},
    {OSB_KIT_KILL, OSB_CPU, "cgroup.kill", O_WRONLY}, /* since Linux 5.14 */
};

/* No reset: cpu.stat only counts up, memory.peak can be reset for one's own descriptor at most. */
const struct osb_cgroup_driver osb_cgroup_v2 = {
    .kind = OSB_CGROUP_V2,
    .report = "cgroup2",
    .open_parents = open_parents,
    .prepare = prepare,
    .set_limits = set_limits,
    .kit_files = kit_files,
    .nkit_files = sizeof kit_files / sizeof *kit_files,
    .init_leaf = "init",
    .enter = "cgroup.procs",
    .cpu = "cpu.stat",
    .memory_peak = "memory.peak",
};
