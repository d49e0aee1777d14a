/* Copies from a memfd by children of init; at their end the write is completed and answered. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"

/* Copies by children at once; what comes beyond is copied at once, by init. */
#define MAX_COPIES 32
/* A copy is memory to memory; one that takes this long was stopped by a command. */
#define COPY_TIMEOUT_NS (30 * NS_PER_S)

struct copy {
  struct replacement replacement;
  pid_t copier; /* 0: the slot is free */
  int64_t deadline;
};

static struct copy copies[MAX_COPIES];
static uint32_t copy_count;
static int32_t *copy_errors; /* shared with the children */

int init_files(void) {
  copy_errors =
      mmap(NULL, sizeof *copy_errors * MAX_COPIES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return copy_errors == MAP_FAILED ? -1 : 0;
}

static void copy_as_child(uint32_t slot, const struct content *content) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) (void)!write(fd, "1000", 4);
  copy_errors[slot] = write_content(copies[slot].replacement.fd, content);
  _exit(0);
}

bool copy_in_child(const struct replacement *r, const struct content *content) {
  for (uint32_t slot = 0; slot < MAX_COPIES; slot++) {
    struct copy *copy = &copies[slot];
    if (copy->copier) continue;
    copy->replacement = *r;
    copy_errors[slot] = ENOMEM; /* stays if the OOM killer ends it */
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) return false;
    if (pid == 0) copy_as_child(slot, content);
    copy->copier = (pid_t)pid;
    copy->deadline = now_ns() + COPY_TIMEOUT_NS;
    copy_count++;
    return true;
  }
  return false;
}

bool reap_copy(pid_t pid, int status) {
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++) {
    struct copy *copy = &copies[slot];
    if (copy->copier != pid) continue;
    int error = WIFEXITED(status) ? copy_errors[slot] : ENOMEM;
    copy->copier = 0;
    copy_count--;
    answer_file(copy->replacement.id, end_replacement(&copy->replacement, error), -1);
    return true;
  }
  return false;
}

uint32_t copies_under_way(void) { return copy_count; }

void tick_copies(int64_t now) {
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++) {
    struct copy *copy = &copies[slot];
    if (!copy->copier || now < copy->deadline) continue;
    kill(copy->copier, SIGKILL);
    copy->deadline = INT64_MAX; /* once is enough; init must not spin until the kernel has ended it */
  }
}

int64_t next_copy_tick(void) {
  int64_t next = INT64_MAX;
  for (uint32_t slot = 0; copy_count > 0 && slot < MAX_COPIES; slot++)
    if (copies[slot].copier && copies[slot].deadline < next) next = copies[slot].deadline;
  return next;
}
