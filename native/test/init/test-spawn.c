/* osb_spawn itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int refuse_place(void *context, pid_t pid, struct osb_error *error) {
  *(pid_t *)context = pid;
  error->code = EDQUOT;
  strcpy(error->text, "no place");
  return -1;
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static void spawn_cleans_up_after_itself(void) {
  struct osb_error error = {0};
  struct osb_spawned spawned;
  pid_t pid = 0;
  int before = count_descriptors();
  struct osb_spawn_config config = {
      .image = osb_init_image(&error), .first_id = 1900000000u, .place = refuse_place, .context = &pid};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EDQUOT);
  CHECK_TEXT(error.text, "no place");
  CHECK(pid > 0 && kill(pid, 0) < 0 && errno == ESRCH);
  config =
      (struct osb_spawn_config){.image = open("/dev/null", O_RDONLY | O_CLOEXEC), .first_id = 1900000000u};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EACCES);
  CHECK_TEXT(error.text, "start init: exec init's image");
  close(config.image);
  config = (struct osb_spawn_config){.image = osb_init_image(&error), .first_id = 4294967290u};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EINVAL);
  CHECK_INT(count_descriptors(), before);
  CHECK_INT(waitpid(-1, NULL, WNOHANG | __WALL), -1);
  CHECK_INT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
}

static void spawn_leaves_the_process_alone(void) {
  struct sandbox sandbox;
  signal(SIGPIPE, SIG_IGN);               /* as Node does */
  int null = open("/dev/null", O_RDONLY); /* not CLOEXEC: nobody's fault, but nothing that init may get */
  start_sandbox(&sandbox, NULL);
  char path[64], target[64] = "";
  for (int fd = 0; fd < 64; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)sandbox.init.pid, fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) continue;
    target[n] = 0;
    /* /dev/null thrice, the socket, the signalfd: of the sandbox all. */
    CHECK(fd < 3 ? strcmp(target, "/dev/null") == 0 : fd == 3 ? strncmp(target, "socket:", 7) == 0 : fd == 4);
  }
  PRINTS(&sandbox, "grep SigIgn /proc/self/status | tr '\\t' ' '; ls /proc/$$/fd",
         "SigIgn: 0000000000000000\n0\n1\n2\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
  CHECK_INT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
  close(null);
  signal(SIGPIPE, SIG_DFL);
}

static void *spawn_repeatedly(void *argument) {
  struct osb_error error = {0};
  struct osb_spawn_config config = {.image = osb_init_image(&error), .first_id = *(uint32_t *)argument};
  for (int i = 0; i < 10; i++) {
    struct osb_spawned spawned;
    siginfo_t info;
    if (osb_spawn(&config, &spawned, &error) < 0) give_up("osb_spawn: %s: %d", error.text, error.code);
    close(spawned.socket);
    if (waitid(P_PIDFD, (id_t)spawned.pidfd, &info, WEXITED | __WALL) < 0) give_up("waitid");
    close(spawned.pidfd);
  }
  return NULL;
}

/* Each takes the flag away from all for a moment; none may take another's moment for the process's choice. */
static void spawns_at_once_keep_the_process_dumpable(void) {
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  uint32_t first_ids[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    first_ids[i] = 1900000000u + i * OSB_ID_RANGE;
    if (pthread_create(&threads[i], NULL, spawn_repeatedly, &first_ids[i]) != 0) give_up("pthread_create");
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  CHECK_INT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
}

static const struct test tests[] = {
    LONE_TEST(spawn_cleans_up_after_itself),
    TEST(spawn_leaves_the_process_alone),
    TEST(spawns_at_once_keep_the_process_dumpable),
};
const struct suite spawn_suite = SUITE(tests);
