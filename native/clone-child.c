/* The child: raw system calls only, for it runs with its parent's thread pointer (see the top of spawn.c). */
#define _GNU_SOURCE
#include "clone-child.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Descriptor numbers in the child. 3 is what init finds, the rest is closed by the exec. */
enum { CHILD_SOCKET = 3, CHILD_GO, CHILD_STATUS, CHILD_IMAGE, CHILD_FIRST_UNUSED };
/* Above the fixed numbers, so that moving a descriptor there cannot close another one. */
#define PARKING_FD 16

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

long clone_child(struct clone_args *args, struct handoff *handoff) {
  return clone_onto(args, sizeof *args, run_child, handoff);
}
