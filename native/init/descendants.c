/* Ending a command where no cgroup holds its processes: best effort. A process that has left the command's
 * session by setsid *and* lost its parent can no longer be told from another command's; alone, everything is
 * the command's. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

/* Processes that one look considers; what is beyond is found by the next look. */
#define MAX_PROCESSES 4096

struct process {
  pid_t pid, parent, session;
  bool doomed;
};

/* False: gone meanwhile, or a zombie, which needs no killing. */
static bool read_process(int proc, const char *name, struct process *process) {
  char path[300], text[512], state;
  snprintf(path, sizeof path, "%s/stat", name);
  int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = 0;
  /* The name before it is in parentheses and may contain any. */
  const char *after = strrchr(text, ')');
  int parent, session;
  if (!after || sscanf(after + 1, " %c %d %*d %d", &state, &parent, &session) != 3) return false;
  *process = (struct process){.pid = (pid_t)atoi(name), .parent = parent, .session = session};
  return state != 'Z' && state != 'X';
}

static size_t list_processes(struct process *processes) {
  size_t count = 0;
  DIR *proc = opendir("/proc");
  if (!proc) return 0;
  for (struct dirent *entry; count < MAX_PROCESSES && (entry = readdir(proc));)
    if (isdigit((unsigned char)entry->d_name[0]) &&
        read_process(dirfd(proc), entry->d_name, &processes[count]))
      count += processes[count].pid != 1;
  closedir(proc);
  return count;
}

/* The main process, its session, and whoever has a doomed parent. */
static void doom(struct process *processes, size_t count, pid_t main_pid) {
  for (size_t i = 0; i < count; i++)
    processes[i].doomed = processes[i].pid == main_pid || processes[i].session == main_pid;
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < count; i++)
      for (size_t j = 0; !processes[i].doomed && j < count; j++)
        if (processes[j].doomed && processes[j].pid == processes[i].parent) more = processes[i].doomed = true;
  }
}

int kill_descendants(pid_t main_pid, bool alone) {
  if (alone) kill(-1, SIGKILL); /* everything but us */
  struct process *processes = malloc(MAX_PROCESSES * sizeof *processes);
  if (!processes) return alone;
  size_t count = list_processes(processes);
  doom(processes, count, main_pid);
  int killed = 0;
  for (size_t i = 0; i < count; i++)
    if ((alone || processes[i].doomed) && kill(processes[i].pid, SIGKILL) == 0) killed++;
  free(processes);
  return killed;
}
