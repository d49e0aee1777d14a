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
#include <linux/sched.h>
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

#include "protocol.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Deep enough for the child's few frames and its signal-free life; a guard page lies below. */
#define CHILD_STACK_BYTES 32768u
#define GUARD_BYTES 4096u
/* Descriptor numbers in the child. 3 is what init finds, the rest is closed by the exec. */
enum { CHILD_SOCKET = 3, CHILD_GO, CHILD_STATUS, CHILD_IMAGE, CHILD_FIRST_UNUSED };
/* Above the fixed numbers, so that moving a descriptor there cannot close another one. */
#define PARKING_FD 16

/* Shared between parent and child, which also share memory: plain stores, ordered by the status pipe. */
struct handoff {
  int socket, go, status, image;
  const char *volatile step; /* of the child, where it failed */
  volatile int error;        /* errno, 0 = none */
};

/* ---- The child: raw system calls only. ---- */

#if defined(__x86_64__)
static inline long raw6(long number, long a, long b, long c, long d, long e) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

/* clone3 whose child calls run(argument) on the new stack and never returns here. */
static long clone_onto(struct clone_args *args, size_t bytes, void (*run)(void *), void *argument) {
  register long run_register __asm__("r12") = (long)run;
  register long argument_register __asm__("r13") = (long)argument;
  long result;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"((long)SYS_clone3), "D"(args), "S"(bytes), "r"(run_register), "r"(argument_register)
      : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
static inline long raw6(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}

static long clone_onto(struct clone_args *args, size_t bytes, void (*run)(void *), void *argument) {
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = (long)args;
  register long x1 __asm__("x1") = (long)bytes;
  register long x20 __asm__("x20") = (long)run;
  register long x21 __asm__("x21") = (long)argument;
  __asm__ volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x30, xzr\n\t"
      "mov x0, x21\n\t"
      "blr x20\n\t"
      "brk #0\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x20), "r"(x21)
      : "memory");
  return x0;
}
#else
#error "osb_spawn knows x86-64 and aarch64"
#endif

#define RAW(name, a, b, c, d, e) raw6(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

/* Sanitizers and stack protectors look up per-thread state that belongs to the parent's thread here. */
#define CHILD_CODE \
  __attribute__((noinline, no_sanitize("address", "undefined"), optimize("no-stack-protector")))
#ifdef __clang__
#undef CHILD_CODE
#define CHILD_CODE __attribute__((noinline, no_sanitize("address", "undefined")))
#endif

CHILD_CODE static void fail_child(struct handoff *handoff, const char *step, long result) {
  handoff->step = step;
  handoff->error = (int)-result;
  for (;;) RAW(exit_group, 1, 0, 0, 0, 0);
}

/* Leaves exactly 3..6 open. */
CHILD_CODE static void number_descriptors(struct handoff *handoff) {
  int from[] = {handoff->socket, handoff->go, handoff->status, handoff->image};
  for (int i = 0; i < 4; i++) {
    long parked = RAW(fcntl, from[i], F_DUPFD_CLOEXEC, PARKING_FD, 0, 0);
    if (parked < 0) fail_child(handoff, "park a descriptor", parked);
    from[i] = (int)parked;
  }
  for (int i = 0; i < 4; i++) {
    int number = CHILD_SOCKET + i;
    long result = RAW(dup3, from[i], number, number == CHILD_SOCKET ? 0 : O_CLOEXEC, 0, 0);
    if (result < 0) fail_child(handoff, "number a descriptor", result);
  }
  long result = RAW(close_range, 0, CHILD_SOCKET - 1, 0, 0, 0);
  if (result == 0) result = RAW(close_range, CHILD_FIRST_UNUSED, ~0U, 0, 0, 0);
  if (result < 0) fail_child(handoff, "close the caller's descriptors", result);
}

CHILD_CODE static void run_child(void *argument) {
  struct handoff *handoff = argument;
  number_descriptors(handoff);
  char byte;
  long result = RAW(read, CHILD_GO, &byte, 1, 0, 0);
  if (result != 1) fail_child(handoff, "wait for go", result < 0 ? result : -EPIPE);
  result = RAW(setsid, 0, 0, 0, 0, 0);
  if (result < 0) fail_child(handoff, "setsid", result);
  result = RAW(setgroups, 0, 0, 0, 0, 0);
  if (result < 0) fail_child(handoff, "setgroups", result);
  result = RAW(setresgid, 0, 0, 0, 0, 0);
  if (result < 0) fail_child(handoff, "setresgid", result);
  result = RAW(setresuid, 0, 0, 0, 0, 0);
  if (result < 0) fail_child(handoff, "setresuid", result);
  /* volatile: or the compiler would copy them from .rodata by a call into libc. */
  const char *volatile argv[2] = {"init", NULL};
  const char *volatile envp[1] = {NULL};
  result = RAW(execveat, CHILD_IMAGE, "", argv, envp, AT_EMPTY_PATH);
  fail_child(handoff, "exec init's image", result);
}

/* ---- The parent. ---- */

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
  int dumpable;
};

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

static int clone_child(const struct osb_spawn_config *config, struct spawn *spawn,
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
  long pid = clone_onto(&args, sizeof args, run_child, &spawn->handoff);
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
  struct spawn spawn = {-1, -1, -1, -1, -1, MAP_FAILED, {0}, 0};
  *spawned = (struct osb_spawned){-1, -1, -1};
  /* The child's change of uid clears the flag of the memory that it shares with us; see the end. */
  spawn.dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  int result = prepare(&spawn, spawned, error);
  if (result == 0) result = clone_child(config, &spawn, spawned, error);
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
  if (spawn.dumpable == 1) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  return result;
}
