/* Kits: the cgroup files of one command each, opened by the engine outside; init can enter, read and end such
 * a cgroup without seeing a cgroup file system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define PRESENT_BITS ((1u << OSB_KIT_FDS) - 1)

static struct kit kits[OSB_MAX_KITS]; /* the first kit_count wait for a command */
static uint32_t kit_count;

void keep_kit(struct packet *packet) {
  struct reader rest;
  const struct osb_kit *request = read_body(packet, sizeof *request, &rest);
  bool sound = rest.at == rest.end && request->kit != 0 && (request->present & ~PRESENT_BITS) == 0 &&
               (uint32_t)__builtin_popcount(request->present) == packet->nfds && kit_count < OSB_MAX_KITS &&
               (request->kind == OSB_CGROUP_V1 || request->kind == OSB_CGROUP_V2);
  for (uint32_t i = 0; i < kit_count; i++) sound = sound && kits[i].id != request->kit;
  if (!sound) end_init(OSB_INIT_PACKET);
  struct kit *kit = &kits[kit_count++];
  *kit = NO_KIT;
  kit->id = request->kit;
  kit->kind = request->kind;
  for (uint32_t i = 0, next = 0; i < OSB_KIT_FDS; i++)
    if (request->present & (1u << i)) kit->fds[i] = take_fd(packet, next++);
}

bool take_kit(uint32_t id, struct kit *kit) {
  for (uint32_t i = 0; i < kit_count; i++) {
    if (kits[i].id != id) continue;
    *kit = kits[i];
    kits[i] = kits[--kit_count];
    return true;
  }
  return false;
}

void close_kit(struct kit *kit) {
  for (int i = 0; i < OSB_KIT_FDS; i++)
    if (kit->fds[i] >= 0) close(kit->fds[i]);
  *kit = NO_KIT;
}

/* "0" is the writer. In v1 `tasks` that moves one thread, and for one's own the kernel need not stop forks
 * and exits of the whole machine, as it must for v1 and v2 `cgroup.procs`. */
int enter_kit(const struct kit *kit) {
  for (int i = OSB_KIT_ENTER_0; i <= OSB_KIT_ENTER_2; i++)
    if (kit->fds[i] >= 0 && write(kit->fds[i], "0", 1) < 0) return -1;
  return 0;
}

/* Control files are made anew by each read from their start. */
static bool read_text(int fd, char *text, size_t size) {
  if (fd < 0) return false;
  ssize_t n = pread(fd, text, size - 1, 0);
  if (n <= 0) return false;
  text[n] = 0;
  return true;
}

/* The number after `key` and a blank at the start of a line. */
static bool find_number(const char *text, const char *key, uint64_t *number) {
  size_t length = strlen(key);
  for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
    if (strncmp(line, key, length) == 0 && line[length] == ' ') {
      *number = strtoull(line + length + 1, NULL, 10);
      return true;
    }
  return false;
}

bool kit_cpu_ns(const struct kit *kit, uint64_t *cpu_ns) {
  char text[1024];
  if (!read_text(kit->fds[OSB_KIT_CPU], text, sizeof text)) return false;
  if (kit->kind == OSB_CGROUP_V1) {
    *cpu_ns = strtoull(text, NULL, 10);
    return true;
  }
  uint64_t cpu_us;
  if (!find_number(text, "usage_usec", &cpu_us)) return false;
  *cpu_ns = cpu_us * 1000;
  return true;
}

uint64_t kit_memory_peak(const struct kit *kit) {
  char text[32];
  return read_text(kit->fds[OSB_KIT_MEM_PEAK], text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

uint64_t kit_oom_kills(const struct kit *kit) {
  char text[1024];
  uint64_t kills = 0;
  if (read_text(kit->fds[OSB_KIT_MEM_EVENTS], text, sizeof text)) find_number(text, "oom_kill", &kills);
  return kills;
}

/* Calls kill(2) for every process of the kit, where `forbid` is not needed any more or not possible. The file
 * shows pids of the *reader's* namespace, whoever opened it; 0 would be a process that is not in it. */
static int kill_listed(int procs) {
  char text[4096];
  size_t kept = 0;
  int count = 0;
  if (lseek(procs, 0, SEEK_SET) < 0) return 0;
  for (;;) {
    ssize_t n = read(procs, text + kept, sizeof text - 1 - kept);
    if (n <= 0) return count;
    text[kept + (size_t)n] = 0;
    char *line = text, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
      long pid = strtol(line, NULL, 10);
      /* Between the read and this a pid could only be somebody else's after the whole range was used once. */
      if (pid > 1 && kill((pid_t)pid, SIGKILL) == 0) count++;
    }
    kept = strlen(line);
    memmove(text, line, kept);
  }
}

/* v1 answers a descriptor that has been read before with the list of then, for a second. A descriptor opened anew sees
 * what is. */
static int open_anew(int fd) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, O_RDONLY | O_CLOEXEC);
}

int kill_kit(const struct kit *kit) {
  char first;
  int procs = kit->fds[OSB_KIT_PROCS];
  /* The engine opened it for this command, so the first look is at what is; and who was there is looked at again. */
  if (procs < 0 || pread(procs, &first, 1, 0) <= 0) return 0;
  /* Without new processes one pass finds all. What forks in this very moment is found by the next look. */
  if (kit->fds[OSB_KIT_PIDS_MAX] >= 0) (void)!write(kit->fds[OSB_KIT_PIDS_MAX], "0", 1);
  if (kit->fds[OSB_KIT_KILL] >= 0) (void)!write(kit->fds[OSB_KIT_KILL], "1", 1);
  int now = open_anew(procs);
  int count = kill_listed(now < 0 ? procs : now);
  if (now >= 0) close(now);
  return count;
}
