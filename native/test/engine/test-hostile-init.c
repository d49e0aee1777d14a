/* The engine against inits that lie: osb_spawn is replaced by a fork of a peer that says what a test wants. Whatever it
 * says, its sandbox is ended and told as lost, with a reason, and nothing leaks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "spawn.h"

/* ---- The peer ---- */

static void (*peer)(int socket);

int osb_init_image(struct osb_error *error) {
  (void)error;
  return 0; /* standard input; nobody executes it */
}

int osb_spawn(const struct osb_spawn_config *config, struct osb_spawned *spawned, struct osb_error *error) {
  int pair[2];
  (void)config;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
    error->code = errno;
    return -1;
  }
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(pair[0]);
    peer(pair[1]);
    for (;;) pause();
  }
  close(pair[1]);
  *spawned = (struct osb_spawned){pid, pidfd_open(pid, 0), pair[0]};
  return 0;
}

/* `fds`: that many descriptors of /dev/null come with it. */
static void say_raw(int socket, const void *bytes, size_t size, int fds) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(64 * sizeof(int))];
  } control;
  struct iovec iov = {(void *)bytes, size};
  struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
  if (fds > 0) {
    int null = open("/dev/null", O_RDONLY), list[64];
    for (int i = 0; i < fds; i++) list[i] = null;
    header.msg_control = control.space;
    header.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN((size_t)fds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), list, (size_t)fds * sizeof(int));
  }
  (void)!sendmsg(socket, &header, MSG_NOSIGNAL);
}

static void say_with(int socket, uint32_t type, uint64_t id, const void *body, size_t size, int fds) {
  uint8_t packet[1024];
  struct osb_header header = {OSB_PROTOCOL_VERSION, type, id, (uint32_t)(sizeof header + size), (uint32_t)fds};
  memcpy(packet, &header, sizeof header);
  if (size) memcpy(packet + sizeof header, body, size);
  say_raw(socket, packet, sizeof header + size, fds);
}

static void say(int socket, uint32_t type, uint64_t id, const void *body, size_t size) {
  say_with(socket, type, id, body, size, 0);
}

/* The id of the next request of a type; its descriptors are left to the kernel to close. */
static uint64_t hear(int socket, uint32_t type) {
  static uint8_t packet[OSB_MAX_PACKET];
  struct osb_header header;
  for (;;) {
    ssize_t n = recv(socket, packet, sizeof packet, 0);
    if (n < (ssize_t)sizeof header) _exit(0);
    memcpy(&header, packet, sizeof header);
    if (header.type == type) return header.id;
  }
}

static uint64_t say_ready(int socket) {
  uint64_t id = hear(socket, OSB_SETUP);
  say(socket, OSB_READY, id, NULL, 0);
  return id;
}

/* ---- Before READY: create fails ---- */

static struct osb_engine *engine;
static int descriptors; /* of an engine without sandboxes */

/* Some are closed just after the callback that a test has waited for. */
static int settled_descriptors(void) {
  for (int i = 0; i < 200 && count_descriptors() != descriptors; i++) sleep_ms(5);
  return count_descriptors();
}

static struct osb_error try_create(void (*with)(int)) {
  peer = with;
  struct osb_sandbox_config config;
  default_sandbox(&config);
  struct result *result = sandbox_try(engine, &config);
  struct osb_error error = result->error;
  CHECK_INT(result->calls, 1);
  result_free(result);
  return error;
}

static void ends_at_once(int socket) {
  (void)socket;
  _exit(66);
}
static void closes_at_once(int socket) {
  close(socket);
  pause();
}
static void says_garbage(int socket) {
  hear(socket, OSB_SETUP);
  say_raw(socket, "garbage", 7, 0);
}
static void says_setup_failed(int socket) {
  struct osb_setup_failed body = {.error = ENOSPC, .what = "mount /tmp"};
  say(socket, OSB_SETUP_FAILED, hear(socket, OSB_SETUP), &body, sizeof body);
}
static void ends_before_it_is_ready(int socket) {
  struct osb_exited body = {.cause = OSB_CAUSE_EXITED};
  say(socket, OSB_EXITED, hear(socket, OSB_SETUP), &body, sizeof body);
}

static void create_fails_where_init_lies(void) {
  struct osb_error error = try_create(ends_at_once);
  CHECK_INT(error.code, ECANCELED);
  CHECK_TEXT(error.text, "init exited with status 66");
  error = try_create(closes_at_once);
  CHECK_INT(error.code, ECANCELED);
  error = try_create(says_garbage);
  CHECK_TEXT(error.text, "init broke the protocol: packet shorter than its header");
  error = try_create(ends_before_it_is_ready);
  CHECK_TEXT(error.text, "init ended a command that it was not given");
  error = try_create(says_setup_failed);
  CHECK_INT(error.code, ENOSPC);
  CHECK_TEXT(error.text, "set up a sandbox: mount /tmp: No space left on device");
}

static void never_ready(int socket) {
  hear(socket, OSB_READY);
}

static void create_is_given_up_in_time(void) {
  double start = now_ms();
  struct osb_error error = try_create(never_ready);
  CHECK_INT(error.code, ETIMEDOUT);
  CHECK_INT(now_ms() - start >= 9900 && now_ms() - start < 15000, true);
}

/* ---- After READY: the sandbox is lost, its run ends, its file calls fail ---- */

static void lose(const char *name, void (*with)(int), const char *reason) {
  forget_lost();
  peer = with;
  uint64_t sandbox = sandbox_create(engine);
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("true", words);
  struct result *run = exec_wait(engine, sandbox, &config);
  /* The peer may have lied before the run came. */
  if (run->error.code != ESRCH) {
    CHECK_INT(run->error.code, 0);
    CHECK_INT(run->outcome.cause, OSB_CAUSE_SESSION_ENDED);
    CHECK_STARTS(run->text, "sandbox lost: ");
  }
  CHECK_INT(run->calls, 1);
  CHECK_INT(wait_lost(1), 1);
  CHECK_TEXT(lost_reason, reason);
  CHECK_INT(sandbox_destroy(engine, sandbox).code, 0);
  CHECK_INT(settled_descriptors(), descriptors);
  if (checks_failed) printf("  with %s\n", name);
  result_free(run);
}

static void ready_twice(int socket) { say(socket, OSB_READY, say_ready(socket), NULL, 0); }
static void ends_another_run(int socket) {
  struct osb_exited body = {.cause = OSB_CAUSE_EXITED};
  say_ready(socket);
  say(socket, OSB_EXITED, hear(socket, OSB_EXEC) + 1, &body, sizeof body);
}
static void ends_the_setup_as_a_run(int socket) {
  struct osb_exited body = {.cause = OSB_CAUSE_EXITED};
  uint64_t id = say_ready(socket);
  hear(socket, OSB_EXEC);
  say(socket, OSB_EXITED, id, &body, sizeof body);
}
static void ends_a_run_as_a_file(int socket) {
  struct osb_file_done body = {0};
  say_ready(socket);
  say(socket, OSB_FILE_DONE, hear(socket, OSB_EXEC), &body, sizeof body);
}
static void gives_descriptors(int socket) {
  struct osb_exited body = {.cause = OSB_CAUSE_EXITED};
  say_ready(socket);
  say_with(socket, OSB_EXITED, hear(socket, OSB_EXEC), &body, sizeof body, 3);
}
static void gives_more_descriptors_than_fit(int socket) {
  struct osb_exited body = {.cause = OSB_CAUSE_EXITED};
  say_ready(socket);
  say_with(socket, OSB_EXITED, hear(socket, OSB_EXEC), &body, sizeof body, 40);
}
static void says_too_much(int socket) {
  static uint8_t bytes[20000];
  say_ready(socket);
  hear(socket, OSB_EXEC);
  say_raw(socket, bytes, sizeof bytes, 0);
}
static void says_nothing_with_descriptors(int socket) {
  say_ready(socket);
  hear(socket, OSB_EXEC);
  say_raw(socket, "", 0, 2);
}
static void fails_setup_after_ready(int socket) {
  struct osb_setup_failed body = {.error = EPERM, .what = "too late"};
  uint64_t id = say_ready(socket);
  hear(socket, OSB_EXEC);
  say(socket, OSB_SETUP_FAILED, id, &body, sizeof body);
}
static void exits_with_a_status(int socket) {
  say_ready(socket);
  hear(socket, OSB_EXEC);
  _exit(65);
}
static void crashes(int socket) {
  say_ready(socket);
  hear(socket, OSB_EXEC);
  raise(SIGKILL);
}

static void lies_lose_the_sandbox(void) {
#define LOSE(with, reason) lose(#with, with, reason)
  LOSE(ready_twice, "init said READY twice");
  LOSE(ends_another_run, "init ended a command that it was not given");
  LOSE(ends_the_setup_as_a_run, "init ended a command that it was not given");
  LOSE(ends_a_run_as_a_file, "init answered a file call that it was not given, or not with what it asks");
  LOSE(gives_descriptors, "init broke the protocol: descriptors that were not asked for");
  LOSE(gives_more_descriptors_than_fit, "init broke the protocol: packet too long");
  LOSE(says_too_much, "init broke the protocol: packet too long");
  LOSE(says_nothing_with_descriptors, "init broke the protocol: packet shorter than its header");
  LOSE(fails_setup_after_ready, "init said SETUP_FAILED: too late");
  LOSE(exits_with_a_status, "init exited with status 65");
  LOSE(crashes, "init was killed by signal 9");
}

/* ---- File calls ---- */

static void file_with(const char *name, void (*with)(int), int code, const char *reason) {
  forget_lost();
  peer = with;
  uint64_t sandbox = sandbox_create(engine);
  struct result *read = file_read(engine, sandbox, "/file", 1000);
  CHECK_INT(read->error.code, code);
  CHECK_INT(read->calls, 1);
  CHECK_INT(wait_lost(reason ? 1 : 0), reason ? 1 : 0);
  if (reason) CHECK_TEXT(lost_reason, reason);
  CHECK_INT(sandbox_destroy(engine, sandbox).code, 0);
  CHECK_INT(settled_descriptors(), descriptors);
  if (checks_failed) printf("  with %s\n", name);
  result_free(read);
}

static void gives_no_file(int socket) {
  struct osb_file_done body = {0};
  say_ready(socket);
  say(socket, OSB_FILE_DONE, hear(socket, OSB_FILE_OPEN), &body, sizeof body);
}
static void gives_two_files(int socket) {
  struct osb_file_done body = {0};
  say_ready(socket);
  say_with(socket, OSB_FILE_DONE, hear(socket, OSB_FILE_OPEN), &body, sizeof body, 2);
}
static void gives_a_device(int socket) {
  struct osb_file_done body = {0};
  say_ready(socket);
  say_with(socket, OSB_FILE_DONE, hear(socket, OSB_FILE_OPEN), &body, sizeof body, 1);
}
static void ends_over_a_file(int socket) {
  say_ready(socket);
  hear(socket, OSB_FILE_OPEN);
  _exit(0);
}
static void gives_fd(int socket, int fd) {
  uint64_t id = hear(socket, OSB_FILE_OPEN);
  struct {
    struct osb_header header;
    struct osb_file_done body;
  } packet = {{OSB_PROTOCOL_VERSION, OSB_FILE_DONE, id, 0, 1}, {0}};
  packet.header.size = sizeof packet.header + sizeof packet.body;
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec iov = {&packet, packet.header.size};
  struct msghdr header = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
  cmsg->cmsg_level = SOL_SOCKET;
  cmsg->cmsg_type = SCM_RIGHTS;
  cmsg->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
  (void)!sendmsg(socket, &header, 0);
}
static void gives_a_pipe(int socket) {
  int ends[2];
  say_ready(socket);
  if (pipe(ends) == 0) gives_fd(socket, ends[0]);
}
static void gives_what_cannot_be_read(int socket) {
  say_ready(socket);
  int fd = memfd_create("x", 0);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  gives_fd(socket, open(path, O_WRONLY));
}
static void gives_a_large_file(int socket) {
  say_ready(socket);
  int fd = memfd_create("x", 0);
  (void)!ftruncate(fd, 1 << 20);
  gives_fd(socket, fd);
}

static void files_of_a_liar_do_no_harm(void) {
  const char *unasked = "init answered a file call that it was not given, or not with what it asks";
#define FILE_WITH(with, code, reason) file_with(#with, with, code, reason)
  FILE_WITH(gives_no_file, EPIPE, unasked);
  FILE_WITH(gives_two_files, EPIPE, "init broke the protocol: descriptors that were not asked for");
  FILE_WITH(gives_a_device, EINVAL, NULL);
  FILE_WITH(gives_a_pipe, EINVAL, NULL);
  FILE_WITH(gives_what_cannot_be_read, EINVAL, NULL);
  FILE_WITH(gives_a_large_file, EFBIG, NULL);
  FILE_WITH(ends_over_a_file, EPIPE, "init exited with status 0");
}

/* ---- Anything ---- */

static void babbles(int socket) {
  srandom((unsigned)getpid());
  say_ready(socket);
  uint64_t id = hear(socket, OSB_EXEC);
  for (;;) {
    uint8_t body[200];
    for (size_t i = 0; i < sizeof body; i++) body[i] = (uint8_t)(random() % 4 ? 0 : random());
    const uint32_t types[] = {OSB_READY, OSB_SETUP_FAILED, OSB_EXITED, OSB_FILE_DONE, 9};
    const size_t sizes[] = {0, sizeof(struct osb_setup_failed), sizeof(struct osb_exited), sizeof(struct osb_file_done)};
    int type = (int)(random() % 5);
    size_t size = random() % 3 && type < 4 ? sizes[type] : (size_t)random() % sizeof body;
    say_with(socket, types[type], random() % 2 ? id : (uint64_t)random(), body, size, random() % 4 ? 0 : (int)(random() % 20));
  }
}

static void random_answers_end_in_one_loss(void) {
  for (int i = 0; i < 200; i++) {
    forget_lost();
    peer = babbles;
    uint64_t sandbox = sandbox_create(engine);
    const char *words[MAX_WORDS];
    struct osb_exec_config config = exec_shell("true", words);
    struct result *run = exec_wait(engine, sandbox, &config);
    CHECK_INT(run->calls, 1);
    CHECK_INT(wait_lost(1), 1);
    CHECK_INT(sandbox_destroy(engine, sandbox).code, 0);
    result_free(run);
  }
  CHECK_INT(settled_descriptors(), descriptors);
}

static void reads_nothing(int socket) {
  say_ready(socket);
  for (;;) pause();
}

/* What the socket has no room for waits in the engine, up to the bound of calls under way. */
static void a_deaf_init_does_not_block(void) {
  peer = reads_nothing;
  uint64_t sandbox = sandbox_create(engine);
  enum { CALLS = 300, BOUND = 256 };
  struct result *runs[CALLS];
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("true", words);
  char *large = malloc(90001);
  memset(large, 'x', 90000);
  large[90000] = 0;
  words[2] = large;
  double start = now_ms();
  for (int i = 0; i < CALLS; i++) exec_start(engine, sandbox, &config, runs[i] = result_new());
  CHECK_INT(now_ms() - start < 5000, true);
  for (int i = BOUND; i < CALLS; i++) CHECK_INT(runs[i]->error.code, EAGAIN);
  CHECK_INT(sandbox_destroy(engine, sandbox).code, 0);
  for (int i = 0; i < CALLS; i++) {
    CHECK_INT(runs[i]->calls, 1);
    if (i < BOUND) CHECK_INT(runs[i]->outcome.cause, OSB_CAUSE_SESSION_ENDED);
    result_free(runs[i]);
  }
  free(large);
}

#define TEST(name) {#name, name}
static const struct test tests[] = {
    TEST(create_fails_where_init_lies),
    TEST(create_is_given_up_in_time),
    TEST(lies_lose_the_sandbox),
    TEST(files_of_a_liar_do_no_harm),
    TEST(random_answers_end_in_one_loss),
    TEST(a_deaf_init_does_not_block),
};

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  engine = engine_open(geteuid() == 0 ? OSB_CGROUP_CHOOSE : OSB_CGROUP_USE_NONE);
  descriptors = count_descriptors();
  int status = run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
  engine_close(engine);
  return status;
}
