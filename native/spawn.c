/*
 * Theory of operation. Forking a Node process copies page tables for milliseconds, and vfork stops the
 * calling thread until the exec. So the child is cloned with CLONE_VM alone: it runs in the parent's memory,
 * on a stack of its own, *while* the parent writes its id maps and places it in cgroups. It shares everything
 * with running threads, thread pointer included, so until its execveat it may touch nothing of libc: no
 * errno, no locks, only raw system calls.
 *
 *   parent                                   child (uid still outside, all capabilities in the new namespaces)
 *   clone3 ────────────────────────────────▶ numbers its descriptors 3..6, closes all others
 *   uid_map, gid_map, cgroups                reads `go` (end of file: parent gave up or died)
 *   writes a byte to `go` ─────────────────▶ setsid, becomes 0 of the id map
 *   reads `status` until end of file ◀────── execveat(image): CLOEXEC closes `status`; failed: says where, exits
 *
 * End of file on `status` also says that the child has left the shared memory (the kernel closes CLOEXEC
 * descriptors after it has switched to the new memory), which is when stack and handoff may go.
 */
#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clone-child.h"
#include "protocol.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Deep enough for the child's few frames and its signal-free life; a guard page lies below. */
#define CHILD_STACK_BYTES 32768u
#define GUARD_BYTES 4096u

__attribute__((format(printf, 3, 4))) static int fail(struct osb_error *error, int code, const char *format,
                                                      ...) {
  va_list args;
  va_start(args, format);
  error->code = code;
  vsnprintf(error->text, sizeof error->text, format, args);
  va_end(args);
  return -1;
}

static void close_if_open(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static int write_proc(pid_t pid, const char *file, const char *text) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int saved = errno;
  close(fd);
  errno = saved;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int map_ids(pid_t pid, uint32_t first_id, struct osb_error *error) {
  char map[48];
  snprintf(map, sizeof map, "0 %u %u\n", first_id, OSB_ID_RANGE);
  if (write_proc(pid, "uid_map", map) < 0) return fail(error, errno, "write uid_map of init: %s", map);
  if (write_proc(pid, "gid_map", map) < 0) return fail(error, errno, "write gid_map of init: %s", map);
  return 0;
}

/* A session that outgrows its memory must lose a command, not its init. The score is set by the old interface
 * (-17 = never) because the new one would also lower the floor down to which commands, which inherit it, may
 * go by themselves; the first write sets that floor to 0 wherever the caller's own score is. Only after the
 * exec: until then the kernel would give the same score to everybody who shares the memory, the caller above
 * all. Best effort: without CAP_SYS_RESOURCE it is only that commands rank before init (exec.c). */
static void spare_from_oom(pid_t pid) {
  if (write_proc(pid, "oom_score_adj", "0") == 0) (void)write_proc(pid, "oom_adj", "-17");
}

struct spawn {
  int child_socket, go_read, go_write, status_read, status_write;
  char *stack;
  struct handoff handoff;
};

/* The child's change of uid clears the flag of the memory that it shares with us. So it is noted before the
 * first of the spawns that overlap and set again after the last: each by itself could take the zero that
 * another's child has just made for the process's own choice. */
static pthread_mutex_t dumpable_lock = PTHREAD_MUTEX_INITIALIZER;
static int spawns_under_way, dumpable_before;

static void note_dumpable(void) {
  pthread_mutex_lock(&dumpable_lock);
  if (spawns_under_way++ == 0) dumpable_before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  pthread_mutex_unlock(&dumpable_lock);
}

static void restore_dumpable(void) {
  pthread_mutex_lock(&dumpable_lock);
  if (--spawns_under_way == 0 && dumpable_before == 1) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  pthread_mutex_unlock(&dumpable_lock);
}

static int prepare(struct spawn *spawn, struct osb_spawned *spawned, struct osb_error *error) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return fail(error, errno, "socketpair");
  spawned->socket = pair[0];
  spawn->child_socket = pair[1];
  if (pipe2(pair, O_CLOEXEC) < 0) return fail(error, errno, "pipe");
  spawn->go_read = pair[0];
  spawn->go_write = pair[1];
  if (pipe2(pair, O_CLOEXEC) < 0) return fail(error, errno, "pipe");
  spawn->status_read = pair[0];
  spawn->status_write = pair[1];
  spawn->stack = mmap(NULL, GUARD_BYTES + CHILD_STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (spawn->stack == MAP_FAILED) return fail(error, errno, "map the child's stack");
  if (mprotect(spawn->stack, GUARD_BYTES, PROT_NONE) < 0)
    return fail(error, errno, "guard the child's stack");
  return 0;
}

static int start_child(const struct osb_spawn_config *config, struct spawn *spawn,
                       struct osb_spawned *spawned, struct osb_error *error) {
  struct clone_args args = {
      .flags = CLONE_VM | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS |
               CLONE_NEWIPC | (config->host_network ? 0u : (uint64_t)CLONE_NEWNET),
      .pidfd = (uint64_t)(uintptr_t)&spawned->pidfd,
      .stack = (uint64_t)(uintptr_t)(spawn->stack + GUARD_BYTES),
      .stack_size = CHILD_STACK_BYTES,
  };
  spawn->handoff = (struct handoff){.socket = spawn->child_socket,
                                    .go = spawn->go_read,
                                    .status = spawn->status_write,
                                    .image = config->image};
  /* A handler of the process that ran in the child would run on shared memory with the wrong thread pointer.
   */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  long pid = clone_child(&args, &spawn->handoff);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid < 0) return fail(error, (int)-pid, "clone3 of init");
  spawned->pid = (pid_t)pid;
  return 0;
}

/* Lets the child go and waits until it has left our memory. */
static int hand_over(struct spawn *spawn, struct osb_error *error) {
  ssize_t n;
  do n = write(spawn->go_write, "", 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) return fail(error, errno, "signal init to go");
  char byte;
  do n = read(spawn->status_read, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n != 0) return fail(error, n < 0 ? errno : EPROTO, "wait for init's exec");
  if (spawn->handoff.error) return fail(error, spawn->handoff.error, "start init: %s", spawn->handoff.step);
  return 0;
}

static void kill_and_reap(struct osb_spawned *spawned) {
  if (spawned->pid <= 0) return;
  syscall(SYS_pidfd_send_signal, spawned->pidfd, SIGKILL, NULL, 0);
  siginfo_t info;
  while (waitid(P_PIDFD, (id_t)spawned->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR) continue;
}

int osb_spawn(const struct osb_spawn_config *config, struct osb_spawned *spawned, struct osb_error *error) {
  struct spawn spawn = {-1, -1, -1, -1, -1, MAP_FAILED, {0}};
  *spawned = (struct osb_spawned){-1, -1, -1};
  note_dumpable();
  int result = prepare(&spawn, spawned, error);
  if (result == 0) result = start_child(config, &spawn, spawned, error);
  close_if_open(&spawn.child_socket);
  close_if_open(&spawn.go_read);
  close_if_open(&spawn.status_write);
  if (result == 0) result = map_ids(spawned->pid, config->first_id, error);
  if (result == 0 && config->place) result = config->place(config->context, spawned->pid, error);
  if (result == 0) result = hand_over(&spawn, error);
  if (result == 0) spare_from_oom(spawned->pid);
  close_if_open(&spawn.go_write);
  close_if_open(&spawn.status_read);
  if (result < 0) {
    kill_and_reap(spawned);
    close_if_open(&spawned->socket);
    close_if_open(&spawned->pidfd);
    spawned->pid = -1;
  }
  /* Only now: the child was reaped or has left our memory. */
  if (spawn.stack != MAP_FAILED) munmap(spawn.stack, GUARD_BYTES + CHILD_STACK_BYTES);
  restore_dumpable();
  return result;
}
