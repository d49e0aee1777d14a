#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
/* Far longer than anything here takes: a hang becomes a failure. */
#define ANSWER_TIMEOUT_MS 90000
#define FIRST_ID 1000000000u

int checks_failed;

void check_failed(const char *file, int line, const char *what) {
  printf("  %s:%d: failed: %s\n", file, line, what);
  checks_failed++;
}

void check_int(const char *file, int line, const char *what, long long actual, long long expected) {
  if (actual == expected) return;
  printf("  %s:%d: %s is %lld, expected %lld\n", file, line, what, actual, expected);
  checks_failed++;
}

/* low <= actual < high */
void check_range(const char *file, int line, const char *what, long long actual, long long low,
                 long long high) {
  if (actual >= low && actual < high) return;
  printf("  %s:%d: %s is %lld, expected %lld to %lld\n", file, line, what, actual, low, high);
  checks_failed++;
}

void check_text(const char *file, int line, const char *what, const char *actual, const char *expected) {
  if (actual && strcmp(actual, expected) == 0) return;
  printf("  %s:%d: %s is \"%.500s\", expected \"%s\"\n", file, line, what, actual ? actual : "(null)",
         expected);
  checks_failed++;
}

void give_up(const char *format, ...) {
  va_list args;
  va_start(args, format);
  printf("  cannot go on: ");
  vprintf(format, args);
  printf(" (errno %d)\n0 passed, 1 failed\n", errno);
  exit(1);
}

double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---- cgroups ---- */

static const char *const controllers[] = {"memory", "pids", "cpuacct"};
enum { CONTROLLERS = 3 };

static const char *group_path(int controller, uint32_t kit, const char *file) {
  static char path[4][256];
  static int next;
  next = (next + 1) % 4;
  int n = snprintf(path[next], sizeof path[next], "/sys/fs/cgroup/%s/osb-test-init-%d",
                   controllers[controller], (int)getpid());
  if (kit) n += snprintf(path[next] + n, sizeof path[next] - (size_t)n, "/%u", kit);
  if (file) snprintf(path[next] + n, sizeof path[next] - (size_t)n, "/%s", file);
  return path[next];
}

static void write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) give_up("write %s to %s", text, path);
  close(fd);
}

bool have_cgroups(void) {
  static int have = -1;
  if (have >= 0) return have;
  have = 1;
  for (int i = 0; i < CONTROLLERS; i++)
    if (mkdir(group_path(i, 0, NULL), 0755) < 0 && errno != EEXIST) have = 0;
  if (have) write_text(group_path(0, 0, "memory.use_hierarchy"), "1");
  return have;
}

uint32_t make_kit(struct sandbox *sandbox, const struct kit_options *options) {
  static uint32_t serial;
  if (!have_cgroups()) give_up("no cgroup v1");
  uint32_t number = ++serial;
  char text[32];
  for (int i = 0; i < CONTROLLERS; i++)
    if (mkdir(group_path(i, number, NULL), 0755) < 0) give_up("mkdir %s", group_path(i, number, NULL));
  if (options->memory_bytes) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)options->memory_bytes);
    write_text(group_path(0, number, "memory.limit_in_bytes"), text);
  }
  if (options->processes) {
    snprintf(text, sizeof text, "%u", options->processes);
    write_text(group_path(1, number, "pids.max"), text);
  }
  int fds[] = {
      open(group_path(0, number, "tasks"), O_WRONLY | O_CLOEXEC),
      open(group_path(1, number, "tasks"), O_WRONLY | O_CLOEXEC),
      open(group_path(2, number, "tasks"), O_WRONLY | O_CLOEXEC),
      open(group_path(2, number, "cpuacct.usage"), O_RDONLY | O_CLOEXEC),
      open(group_path(0, number, "memory.max_usage_in_bytes"), O_RDONLY | O_CLOEXEC),
      open(group_path(0, number, "memory.oom_control"), O_RDONLY | O_CLOEXEC),
      open(group_path(1, number, "pids.max"), O_WRONLY | O_CLOEXEC),
      open(group_path(1, number, "cgroup.procs"), O_RDONLY | O_CLOEXEC),
  };
  for (int i = 0; i < 8; i++)
    if (fds[i] < 0) give_up("open file %d of a kit", i);
  struct osb_kit kit = {.kit = number, .kind = OSB_CGROUP_V1, .present = 0xff};
  send_message(sandbox, OSB_KIT, 0, &kit, sizeof kit, NULL, 0, fds, 8);
  for (int i = 0; i < 8; i++) close(fds[i]);
  return number;
}

static const char *unified_path(const char *file) {
  static char path[2][256];
  static int next;
  next = !next;
  snprintf(path[next], sizeof path[next], "/sys/fs/cgroup/unified/osb-test-init-%d%s", (int)getpid(), file);
  return path[next];
}

uint32_t make_kit_v2(struct sandbox *sandbox) {
  static uint32_t serial = 500000;
  if (mkdir(unified_path(""), 0755) < 0) return 0;
  int fds[] = {
      open(unified_path("/cgroup.procs"), O_WRONLY | O_CLOEXEC),
      open(unified_path("/cpu.stat"), O_RDONLY | O_CLOEXEC),
      open(unified_path("/cgroup.procs"), O_RDONLY | O_CLOEXEC),
      open(unified_path("/cgroup.kill"), O_WRONLY | O_CLOEXEC),
  };
  struct osb_kit kit = {
      .kit = ++serial,
      .kind = OSB_CGROUP_V2,
      .present = 1 << OSB_KIT_ENTER_0 | 1 << OSB_KIT_CPU | 1 << OSB_KIT_PROCS | 1 << OSB_KIT_KILL};
  for (int i = 0; i < 4; i++)
    if (fds[i] < 0) give_up("open file %d of a v2 kit", i);
  send_message(sandbox, OSB_KIT, 0, &kit, sizeof kit, NULL, 0, fds, 4);
  for (int i = 0; i < 4; i++) close(fds[i]);
  return kit.kit;
}

bool remove_kit_v2(void) { return rmdir(unified_path("")) == 0; }

bool remove_kit(uint32_t kit) {
  bool removed = true;
  for (int i = 0; i < CONTROLLERS; i++) removed = rmdir(group_path(i, kit, NULL)) == 0 && removed;
  return removed;
}

void remove_cgroups(void) {
  for (int i = 0; i < CONTROLLERS; i++) rmdir(group_path(i, 0, NULL));
}

/* ---- Sandboxes ---- */

static int place(void *context, pid_t pid, struct osb_error *error) {
  const struct sandbox_options *options = context;
  if (!have_cgroups()) return 0;
  char text[32];
  if (!options || !options->session_memory_bytes) {
    write_text(group_path(0, 0, "memory.limit_in_bytes"), "-1");
    return 0;
  }
  snprintf(text, sizeof text, "%llu", (unsigned long long)options->session_memory_bytes);
  write_text(group_path(0, 0, "memory.limit_in_bytes"), text);
  snprintf(text, sizeof text, "%d", (int)pid);
  write_text(group_path(0, 0, "cgroup.procs"), text);
  error->code = 0;
  return 0;
}

void spawn_only(struct sandbox *sandbox, const struct sandbox_options *options) {
  static uint32_t serial;
  struct osb_error error;
  int image = osb_init_image(&error);
  if (image < 0) give_up("%s: %s", error.text, strerror(error.code));
  struct osb_spawn_config config = {.image = image,
                                    .first_id = FIRST_ID + OSB_ID_RANGE * (serial++ % 1000),
                                    .host_network = options && options->host_network,
                                    .place = place,
                                    .context = (void *)options};
  *sandbox = (struct sandbox){.next_id = 1, .first_id = config.first_id};
  if (osb_spawn(&config, &sandbox->init, &error) < 0) give_up("%s: %s", error.text, strerror(error.code));
}

static size_t add(char *buffer, size_t at, const char *text) {
  size_t length = strlen(text) + 1;
  memcpy(buffer + at, text, length);
  return at + length;
}

void send_setup(struct sandbox *sandbox, const struct sandbox_options *options) {
  static const char *const binds[] = {"/usr", "/etc/ld.so.cache", "/etc/alternatives", NULL};
  static const char *const links[][2] = {{"usr/bin", "/bin"},
                                         {"usr/sbin", "/sbin"},
                                         {"usr/lib", "/lib"},
                                         {"usr/lib64", "/lib64"},
                                         {"/etc", "/linked-etc"}};
  static const char *const files[][2] = {{"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"},
                                         {"/etc/deep/down/file", "generated\n"}};
  struct osb_setup setup = {.disk_bytes = 64 << 20,
                            .disk_inodes = 20000,
                            .shm_bytes = 16 << 20,
                            .nlinks = 5,
                            .nfiles = 2,
                            .flags = OSB_SETUP_LOOPBACK};
  if (options && options->disk_bytes) setup.disk_bytes = options->disk_bytes;
  if (options && options->host_network) setup.flags = 0;
  char text[8192];
  size_t at = add(text, 0, "test-host");
  for (int i = 0; binds[i]; i++, setup.nbinds++) at = add(text, add(text, at, binds[i]), binds[i]);
  if (options && options->bad_bind) {
    at = add(text, add(text, at, options->bad_bind), options->bad_bind);
    setup.nbinds++;
  }
  for (int i = 0; i < 5; i++) at = add(text, add(text, at, links[i][0]), links[i][1]);
  for (int i = 0; i < 2; i++) at = add(text, add(text, at, files[i][0]), files[i][1]);
  send_message(sandbox, OSB_SETUP, 7, &setup, sizeof setup, text, at, NULL, 0);
}

uint32_t try_sandbox(struct sandbox *sandbox, const struct sandbox_options *options,
                     struct osb_setup_failed *failed) {
  uint64_t id = 0;
  spawn_only(sandbox, options);
  send_setup(sandbox, options);
  uint32_t type = receive_message(sandbox, &id, failed, sizeof *failed, NULL);
  if (id != 7) give_up("answer %u to id %llu", type, (unsigned long long)id);
  return type;
}

void start_sandbox(struct sandbox *sandbox, const struct sandbox_options *options) {
  struct osb_setup_failed failed = {0};
  if (try_sandbox(sandbox, options, &failed) != OSB_READY)
    give_up("setup: %s: %s", failed.what, strerror(failed.error));
}

int wait_for_init(struct sandbox *sandbox, int timeout_ms) {
  struct pollfd ended = {.fd = sandbox->init.pidfd, .events = POLLIN};
  siginfo_t info = {0};
  bool late = poll(&ended, 1, timeout_ms) == 0;
  if (late) syscall(SYS_pidfd_send_signal, sandbox->init.pidfd, SIGKILL, NULL, 0);
  if (waitid(P_PIDFD, (id_t)sandbox->init.pidfd, &info, WEXITED | __WALL) < 0) give_up("wait for init");
  close(sandbox->init.pidfd);
  if (sandbox->init.socket >= 0) close(sandbox->init.socket);
  if (late) return -1000;
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

int end_sandbox(struct sandbox *sandbox) {
  close(sandbox->init.socket);
  sandbox->init.socket = -1;
  return wait_for_init(sandbox, 5000);
}

/* ---- Packets ---- */

void send_raw(struct sandbox *sandbox, const void *bytes, size_t count, const int *fds, uint32_t nfds) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(32 * sizeof(int))];
  } control = {0};
  struct iovec part = {(void *)bytes, count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (nfds > 0) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
  }
  if (sendmsg(sandbox->init.socket, &message, MSG_NOSIGNAL) != (ssize_t)count)
    give_up("send %zu bytes", count);
}

void send_message(struct sandbox *sandbox, uint32_t type, uint64_t id, const void *body, size_t body_bytes,
                  const void *rest, size_t rest_bytes, const int *fds, uint32_t nfds) {
  static char packet[OSB_MAX_PACKET + 64];
  struct osb_header header = {OSB_PROTOCOL_VERSION, type, id,
                              (uint32_t)(sizeof header + body_bytes + rest_bytes), nfds};
  memcpy(packet, &header, sizeof header);
  if (body_bytes) memcpy(packet + sizeof header, body, body_bytes);
  if (rest_bytes) memcpy(packet + sizeof header + body_bytes, rest, rest_bytes);
  send_raw(sandbox, packet, header.size, fds, nfds);
}

uint32_t receive_message(struct sandbox *sandbox, uint64_t *id, void *body, size_t size, int *fd) {
  char packet[4096];
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {packet, sizeof packet};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct pollfd readable = {.fd = sandbox->init.socket, .events = POLLIN};
  if (poll(&readable, 1, ANSWER_TIMEOUT_MS) <= 0) give_up("no answer");
  ssize_t n = recvmsg(sandbox->init.socket, &message, MSG_CMSG_CLOEXEC);
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return 0;
  struct osb_header header;
  if (n < (ssize_t)sizeof header) give_up("receive");
  memcpy(&header, packet, sizeof header);
  if (header.size != n || header.version != OSB_PROTOCOL_VERSION) give_up("bad header");
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  if ((c != NULL) != (header.nfds == 1)) give_up("%u descriptors announced", header.nfds);
  int received = -1;
  if (c) memcpy(&received, CMSG_DATA(c), sizeof received);
  if (fd)
    *fd = received;
  else if (received >= 0)
    give_up("a descriptor that nobody asked for");
  *id = header.id;
  size_t bytes = (size_t)n - sizeof header;
  if (body && bytes <= size) memcpy(body, packet + sizeof header, bytes);
  return header.type;
}

/* ---- Commands ---- */

static uint64_t send_exec(struct sandbox *sandbox, const struct run_options *options, const char *const *argv,
                          const int *stdio) {
  static const struct run_options none;
  static char strings[OSB_MAX_STRINGS + 1];
  if (!options) options = &none;
  struct osb_exec exec = {.kit = options->kit,
                          .flags = options->memfd ? OSB_EXEC_MEMFD : 0,
                          .nofile = options->nofile ? options->nofile : 64,
                          .fsize_bytes = options->fsize_bytes ? options->fsize_bytes : 1u << 30,
                          .cpu_ms = options->cpu_ms,
                          .wall_ms = options->wall_ms ? options->wall_ms : 10000};
  size_t at = 0;
  for (; argv[exec.argc]; exec.argc++) at = add(strings, at, argv[exec.argc]);
  if (options->env)
    for (; options->env[exec.envc]; exec.envc++) at = add(strings, at, options->env[exec.envc]);
  at = add(strings, at, options->cwd ? options->cwd : "/");
  exec.strings_bytes = (uint32_t)at;
  int fds[4] = {stdio[0], stdio[1], stdio[2], -1};
  uint32_t nfds = 3;
  if (options->memfd) {
    nfds = 4;
    fds[3] = memfd_create("strings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (write(fds[3], strings, at) != (ssize_t)at) give_up("write strings");
    if (fcntl(fds[3], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) give_up("seal");
  }
  uint64_t id = sandbox->next_id++;
  send_message(sandbox, OSB_EXEC, id, &exec, sizeof exec, strings, options->memfd ? 0 : at, fds, nfds);
  if (options->memfd) close(fds[3]);
  return id;
}

uint64_t start_run(struct sandbox *sandbox, const struct run_options *options, const char *const *argv) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  uint64_t id = send_exec(sandbox, options, argv, (int[]){null, null, null});
  close(null);
  return id;
}

struct osb_exited wait_exited(struct sandbox *sandbox, uint64_t *id) {
  struct osb_exited exited = {0};
  uint32_t type = receive_message(sandbox, id, &exited, sizeof exited, NULL);
  if (type != OSB_EXITED) give_up("expected EXITED, got %u", type);
  return exited;
}

/* Small inputs and outputs only: they fit into the pipes, so nothing has to be drained while the command
 * runs. */
struct result *run(struct sandbox *sandbox, const struct run_options *options, const char *const *argv) {
  static struct result result;
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) give_up("pipe");
  /* Or the command could not open /dev/stdout: that opens the pipe anew, which takes its permission. */
  const int owned[] = {in[0], out[0], err[0]};
  for (int i = 0; i < 3; i++)
    if (fchown(owned[i], sandbox->first_id, sandbox->first_id) < 0) give_up("chown a pipe");
  uint64_t id = send_exec(sandbox, options, argv, (int[]){in[0], out[1], err[1]});
  close(in[0]);
  close(out[1]);
  close(err[1]);
  if (options && options->input && write(in[1], options->input, strlen(options->input)) < 0)
    give_up("write stdin");
  close(in[1]);
  uint64_t answered;
  memset(&result, 0, sizeof result);
  result.exited = wait_exited(sandbox, &answered);
  if (answered != id) give_up("EXITED of another run");
  size_t at = 0;
  for (ssize_t n; (n = read(out[0], result.out + at, sizeof result.out - 1 - at)) > 0;) at += (size_t)n;
  at = 0;
  for (ssize_t n; (n = read(err[0], result.err + at, sizeof result.err - 1 - at)) > 0;) at += (size_t)n;
  close(out[0]);
  close(err[0]);
  return &result;
}

/* ---- Files ---- */

int write_inside(struct sandbox *sandbox, const char *path, const void *content, size_t bytes,
                 uint32_t flags) {
  static char rest[OSB_MAX_PACKET];
  struct osb_file_write request = {
      .content_bytes = bytes, .mode = 0644, .flags = flags, .path_bytes = (uint32_t)strlen(path)};
  size_t at = add(rest, 0, path);
  int fd = -1;
  if (flags & OSB_FILE_MEMFD) {
    fd = memfd_create("content", MFD_CLOEXEC);
    if (write(fd, content, bytes) != (ssize_t)bytes) give_up("write content");
  } else {
    memcpy(rest + at, content, bytes);
    at += bytes;
  }
  send_message(sandbox, OSB_FILE_WRITE, sandbox->next_id++, &request, sizeof request, rest, at, &fd, fd >= 0);
  if (fd >= 0) close(fd);
  struct osb_file_done done = {-1};
  uint64_t id;
  if (receive_message(sandbox, &id, &done, sizeof done, NULL) != OSB_FILE_DONE) give_up("expected FILE_DONE");
  return done.error;
}

int open_inside(struct sandbox *sandbox, const char *path, uint32_t flags, int *fd) {
  struct osb_file_open request = {.flags = flags, .path_bytes = (uint32_t)strlen(path)};
  send_message(sandbox, OSB_FILE_OPEN, sandbox->next_id++, &request, sizeof request, path, strlen(path) + 1,
               NULL, 0);
  struct osb_file_done done = {-1};
  uint64_t id;
  if (receive_message(sandbox, &id, &done, sizeof done, fd) != OSB_FILE_DONE) give_up("expected FILE_DONE");
  if ((done.error == 0) != (*fd >= 0)) give_up("error %d with descriptor %d", done.error, *fd);
  return done.error;
}

const char *read_inside(struct sandbox *sandbox, const char *path) {
  static char text[CAPTURE_BYTES];
  int fd, error = open_inside(sandbox, path, 0, &fd);
  errno = error;
  if (error) return NULL;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n < 0 ? 0 : n] = 0;
  return text;
}
