/* From an EXEC to the running program. All below run_command happens in the child, a copy of init. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* The kernel's own bound: pointers count as much as strings. */
#define MAX_STRING_COUNT (OSB_MAX_STRINGS / sizeof(char *))
/* The soft limit (SIGXCPU) may be handled by the program, the hard one not. */
#define CPU_SOFT_SECONDS 1u
#define CPU_HARD_SECONDS 2u

/* ---- In init: the request ---- */

/* A memfd that could still shrink would turn reading it into SIGBUS. */
static const char *map_strings(int memfd, size_t bytes, int *error) {
  struct stat status;
  int seals = fcntl(memfd, F_GET_SEALS);
  *error = EINVAL;
  if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE)) return NULL;
  if (fstat(memfd, &status) < 0 || status.st_size < (off_t)bytes) return NULL;
  const char *strings = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, memfd, 0);
  if (strings == MAP_FAILED) {
    *error = errno;
    return NULL;
  }
  return strings;
}

static bool has_name(char *const *envp, size_t count, const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < count; i++)
    if (strncmp(envp[i], name, length) == 0 && envp[i][length] == '=') return true;
  return false;
}

static int read_strings(struct reader *strings, const struct osb_exec *exec, struct command *command) {
  for (uint32_t i = 0; i < exec->argc; i++)
    if (!(command->argv[i] = (char *)read_string(strings))) return EINVAL;
  for (uint32_t i = 0; i < exec->envc; i++)
    if (!(command->envp[i] = (char *)read_string(strings)) || !strchr(command->envp[i], '=')) return EINVAL;
  command->cwd = read_string(strings);
  if (!command->cwd || command->cwd[0] != '/' || strings->at != strings->end) return EINVAL;
  size_t count = exec->envc;
  if (!has_name(command->envp, exec->envc, "PATH")) command->envp[count++] = (char *)"PATH=" DEFAULT_PATH;
  if (!has_name(command->envp, exec->envc, "HOME")) command->envp[count++] = (char *)"HOME=/root";
  return 0;
}

int parse_command(struct packet *packet, const struct osb_exec *exec, struct reader strings,
                  struct command *command) {
  *command = (struct command){.exec = exec};
  for (uint32_t i = 0; i < 3; i++) command->stdio[i] = packet->fds[i];
  if (exec->flags & OSB_EXEC_MEMFD) {
    int error;
    if (strings.at != strings.end || exec->strings_bytes == 0) return EINVAL;
    if (exec->strings_bytes > OSB_MAX_STRINGS) return E2BIG;
    command->strings = map_strings(packet->fds[3], exec->strings_bytes, &error);
    if (!command->strings) return error;
    strings.at = (const uint8_t *)command->strings;
    strings.end = strings.at + exec->strings_bytes;
  }
  if ((size_t)(strings.end - strings.at) != exec->strings_bytes || exec->argc == 0) return EINVAL;
  if ((uint64_t)exec->argc + exec->envc > MAX_STRING_COUNT) return E2BIG;
  command->argv = calloc((size_t)exec->argc + 1, sizeof *command->argv);
  command->envp = calloc((size_t)exec->envc + 3, sizeof *command->envp); /* PATH, HOME, NULL */
  if (!command->argv || !command->envp) return ENOMEM;
  return read_strings(&strings, exec, command);
}

void free_command(struct command *command) {
  free(command->argv);
  free(command->envp);
  if (command->strings) munmap((void *)command->strings, command->exec->strings_bytes);
}

/* ---- In the child ---- */

static int lower_limit(int resource, uint64_t soft, uint64_t hard) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) < 0) return -1;
  if (hard < limit.rlim_max) limit.rlim_max = hard; /* raising it is not ours to do */
  limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
  return setrlimit(resource, &limit);
}

static int set_limits(const struct osb_exec *exec) {
  if (lower_limit(RLIMIT_NOFILE, exec->nofile, exec->nofile) < 0) return -1;
  if (lower_limit(RLIMIT_FSIZE, exec->fsize_bytes, exec->fsize_bytes) < 0) return -1;
  /* 1, not 0: a core_pattern with a pipe ignores the limit but for this value. */
  if (lower_limit(RLIMIT_CORE, 1, 1) < 0) return -1;
  if (exec->cpu_ms == 0) return 0;
  uint64_t seconds = exec->cpu_ms / 1000 + (exec->cpu_ms % 1000 != 0);
  return lower_limit(RLIMIT_CPU, seconds + CPU_SOFT_SECONDS, seconds + CPU_HARD_SECONDS);
}

/* The first to go when memory ends: before init, whose death would be the session's, and before the host's
 * processes. */
static int volunteer_for_oom(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  return fd >= 0 && write(fd, "1000", 4) == 4 ? 0 : -1;
}

static int move_stdio(const int stdio[3]) {
  for (int i = 0; i < 3; i++)
    if (dup2(stdio[i], i) < 0) return -1;
  return (int)syscall(SYS_close_range, 3, ~0U, 0);
}

/* A directory outside of our root would be a way out (CVE-2024-21626). */
static int enter_directory(const char *path) {
  char real[PATH_MAX];
  if (chdir(path) < 0) return -1;
  if (syscall(SYS_getcwd, real, sizeof real) < 0) return -1;
  if (real[0] == '/') return 0;
  errno = ENOENT;
  return -1;
}

/* What a search may pass over, as execvpe does: it is not there, or not for us. */
static bool search_goes_on(int error) {
  return error == ENOENT || error == ENOTDIR || error == EACCES || error == ENAMETOOLONG || error == ESTALE ||
         error == ENODEV || error == ETIMEDOUT;
}

/* Returns the errno that says most: EACCES if something of that name was there. */
static int exec_by_search(const struct command *command) {
  const char *name = command->argv[0], *search = DEFAULT_PATH;
  for (char **entry = command->envp; *entry; entry++)
    if (strncmp(*entry, "PATH=", 5) == 0) {
      search = *entry + 5;
      break;
    }
  int error = ENOENT;
  for (const char *end; search; search = *end ? end + 1 : NULL) {
    char path[PATH_MAX];
    end = strchrnul(search, ':');
    size_t length = (size_t)(end - search);
    if (length + 1 + strlen(name) >= sizeof path) continue;
    /* An empty entry is the current directory. */
    snprintf(path, sizeof path, "%.*s%s%s", (int)length, search, length ? "/" : "", name);
    execve(path, command->argv, command->envp);
    if (!search_goes_on(errno)) return errno;
    if (errno == EACCES) error = EACCES;
  }
  return error;
}

static int exec_program(const struct command *command) {
  const char *name = command->argv[0];
  if (!*name) return ENOENT;
  if (!strchr(name, '/')) return exec_by_search(command);
  execve(name, command->argv, command->envp);
  return errno;
}

__attribute__((noreturn)) static void fail(struct exec_failure *failure, enum osb_stage stage, int error) {
  *failure = (struct exec_failure){stage, error};
  _exit(127);
}

void run_command(const struct command *command, const struct kit *kit, struct exec_failure *failure) {
  if (enter_kit(kit) < 0) fail(failure, OSB_STAGE_CGROUP, errno);
  if (volunteer_for_oom() < 0) fail(failure, OSB_STAGE_LIMITS, errno);
  if (set_limits(command->exec) < 0) fail(failure, OSB_STAGE_LIMITS, errno);
  if (setsid() < 0 || move_stdio(command->stdio) < 0) fail(failure, OSB_STAGE_STDIO, errno);
  if (enter_directory(command->cwd) < 0) fail(failure, OSB_STAGE_CWD, errno);
  umask(022);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  fail(failure, OSB_STAGE_EXEC, exec_program(command));
}
