/* Init: sets the sandbox up, then serves the engine's packets and looks after its children until the engine
 * is gone. One thread, one loop, nothing in it blocks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define SOCKET 3
/* Packets between two looks at the clock and the children. */
#define PACKETS_AT_ONCE 16

static int child_events = -1;

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * NS_PER_S + now.tv_nsec;
}

void end_init(enum osb_init_exit status) {
  /* The kernel kills whatever else lives in the pid namespace. */
  _exit((int)status);
}

/* Node ignores SIGPIPE, and its mask and dispositions came along through the exec. Default is what init needs
 * too: the kernel discards every signal with the default action that comes to PID 1 from its own namespace.
 */
static void reset_signals(void) {
  /* All zero is SIG_DFL. Not sigaction(): C libraries keep 32 to 34 from us, which glibc's posix_spawn has
   * ignored. */
  static const uint64_t standard[8];
  for (int number = 1; number <= 64; number++)
    syscall(SYS_rt_sigaction, number, standard, NULL, sizeof(uint64_t));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_SETMASK, &mask, NULL);
  child_events = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (child_events < 0) end_init(OSB_INIT_SYSTEM);
}

/* The launcher left only the socket. 0 to 2 stay taken, so that no descriptor of ours has a number that a
 * command's stdio is moved to. */
static void check_descriptors(void) {
  if (fcntl(SOCKET, F_SETFD, FD_CLOEXEC) < 0) end_init(OSB_INIT_SYSTEM);
  if (syscall(SYS_close_range, SOCKET + 1, ~0U, 0) < 0) end_init(OSB_INIT_SYSTEM);
  close(0);
  close(1);
  close(2);
  for (int fd = 0; fd < SOCKET; fd++)
    if (eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) != fd) end_init(OSB_INIT_SYSTEM);
}

/* Kits are nine descriptors each. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void wait_for_events(int64_t deadline) {
  struct pollfd fds[] = {
      /* While answers wait for room no more requests are read: that bounds the queue. */
      {.fd = SOCKET, .events = answers_queued() ? POLLOUT : POLLIN},
      {.fd = child_events, .events = POLLIN},
  };
  struct timespec timeout, *until = NULL;
  if (deadline != INT64_MAX) {
    int64_t left = deadline - now_ns();
    if (left < 0) left = 0;
    timeout = (struct timespec){left / NS_PER_S, left % NS_PER_S};
    until = &timeout;
  }
  if (ppoll(fds, 2, until, NULL) < 0 && errno != EINTR) end_init(OSB_INIT_SYSTEM);
}

static bool children_changed(void) {
  /* SIGCHLDs coalesce: one says that there is something to reap, not how much. */
  struct signalfd_siginfo info;
  return read(child_events, &info, sizeof info) > 0;
}

static void handle_packet(struct packet *packet) {
  switch (packet->header.type) {
    case OSB_KIT: keep_kit(packet); break;
    case OSB_EXEC: start_job(packet); break;
    case OSB_KILL: kill_job(packet); break;
    case OSB_FILE_WRITE: write_file(packet); break;
    case OSB_FILE_OPEN: open_file(packet); break;
    default: end_init(OSB_INIT_PACKET);
  }
}

static void wait_for_setup(void) {
  struct packet packet;
  while (!receive_packet(&packet)) wait_for_events(INT64_MAX);
  if (packet.header.type != OSB_SETUP || packet.nfds != 0) end_init(OSB_INIT_PACKET);
  struct reader rest;
  const struct osb_setup *setup = read_body(&packet, sizeof *setup, &rest);
  if (set_up(setup, rest) < 0) {
    send_packet(OSB_SETUP_FAILED, packet.header.id, &setup_failure, sizeof setup_failure, -1);
    end_init(OSB_INIT_SETUP);
  }
  send_packet(OSB_READY, packet.header.id, NULL, 0, -1);
}

static void serve(void) {
  struct packet packet;
  for (;;) {
    int64_t jobs_at = next_tick(), copies_at = next_copy_tick();
    wait_for_events(jobs_at < copies_at ? jobs_at : copies_at);
    send_queued();
    if (children_changed()) reap_children();
    for (int i = 0; i < PACKETS_AT_ONCE && !answers_queued() && receive_packet(&packet); i++) {
      handle_packet(&packet);
      close_packet(&packet);
    }
    tick_jobs(now_ns());
    tick_copies(now_ns());
  }
}

#ifdef __SANITIZE_ADDRESS__
/* Init has no environment. Leaks are looked for by ptrace, which init refuses. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "exitcode=99:detect_leaks=0"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "exitcode=99"; }
#endif

int main(void) {
  /* First, while no command exists: nobody may trace us, read our memory, descriptors or root. */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || getpid() != 1) end_init(OSB_INIT_SYSTEM);
  check_descriptors();
  reset_signals();
  raise_descriptor_limit();
  init_job_clock();
  if (init_jobs() < 0 || init_files() < 0) end_init(OSB_INIT_SYSTEM);
  wait_for_setup();
  serve();
}
