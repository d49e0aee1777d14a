#define _GNU_SOURCE
#include "cgroup-sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

/* s<sandbox>/r<kit>: nothing of ours is deeper. */
#define MAX_DEPTH 3
/* What was killed needs a moment: 200 × 10 ms. Inits end by themselves when their engine dies, so this is rare. */
#define MAX_PASSES 200
#define PASS_NS 10000000

static void kill_members(int directory) {
  int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  FILE *procs = fd < 0 ? NULL : fdopen(fd, "r");
  if (!procs) return;
  int pid;
  while (fscanf(procs, "%d", &pid) == 1)
    if (pid > 1 && pid != getpid()) kill(pid, SIGKILL);
  fclose(procs);
}

/* How many directories below are still there. */
static int sweep_once(int directory, int depth, bool kill_them) {
  int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy < 0 ? NULL : fdopendir(copy);
  int left = 0;
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    if (entry->d_name[0] == '.' || entry->d_type != DT_DIR) continue;
    int child = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (child < 0) continue;
    if (depth < MAX_DEPTH) sweep_once(child, depth + 1, kill_them);
    if (kill_them) kill_members(child);
    close(child);
    if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) left++;
  }
  if (dir) closedir(dir);
  return left;
}

int osb_cgroup_sweep(int directory, struct osb_error *error) {
  const struct timespec pause = {0, PASS_NS};
  for (int pass = 0; pass < MAX_PASSES; pass++) {
    if (sweep_once(directory, 1, true) == 0) return 0;
    nanosleep(&pause, NULL);
  }
  return osb_fail(error, EBUSY, "processes of an earlier engine of this name do not end");
}

void osb_cgroup_sweep_dead(int parent, const char *prefix) {
  int copy = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy < 0 ? NULL : fdopendir(copy);
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    if (entry->d_type != DT_DIR || strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
    int tree = openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree < 0) continue;
    if (flock(tree, LOCK_EX | LOCK_NB) == 0) {
      sweep_once(tree, 1, false);
      (void)!unlinkat(parent, entry->d_name, AT_REMOVEDIR);
    }
    close(tree);
  }
  if (dir) closedir(dir);
}
