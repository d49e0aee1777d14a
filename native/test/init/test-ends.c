/* How jobs end, and whom else that concerns. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests.h"

static void descendants_end_with_the_command(void) {
  static const char escapes[] =
      "setsid sh -c 'setsid sleep 100 & sleep 100 &' & setsid sleep 100 & sleep 0.1; echo done";
  for (int with_kit = 0; with_kit < 2; with_kit++) {
    uint32_t kit = with_kit ? make_kit(&shared, &(struct kit_options){0}) : 0;
    struct result *r = SH(&shared, WITH(.kit = kit), escapes);
    CHECK_TEXT(r->out, "done\n");
    EXITED_WITH(r, 0);
    PRINTS(&shared, "pgrep -c sleep || true", "0\n");
    if (kit) CHECK(remove_kit(kit));
  }
}

static void kill_ends_one_job_only(void) {
  const char *const sleeper[] = {"sleep", "100", NULL};
  const char *const nested[] = {"sh", "-c", "setsid sleep 100 & sleep 100", NULL};
  for (int with_kit = 0; with_kit < 2; with_kit++) {
    uint32_t kits[2] = {0, 0};
    for (int i = 0; with_kit && i < 2; i++) kits[i] = make_kit(&shared, &(struct kit_options){0});
    uint64_t stays = start_run(&shared, WITH(.kit = kits[0]), nested);
    uint64_t goes = start_run(&shared, WITH(.kit = kits[1]), sleeper);
    uint64_t id;
    PRINTS(&shared, "until [ \"$(pgrep -cx sleep)\" = 3 ]; do :; done", "");
    struct osb_kill request = {goes, OSB_CAUSE_CANCELLED};
    send_message(&shared, OSB_KILL, 1, &request, sizeof request, NULL, 0, NULL, 0);
    struct osb_exited exited = wait_exited(&shared, &id);
    CHECK_INT(id, goes);
    CHECK_INT(exited.cause, OSB_CAUSE_CANCELLED);
    CHECK_INT(exited.signal, SIGKILL);
    PRINTS(&shared, "pgrep -c sleep", "2\n");
    request = (struct osb_kill){stays, OSB_CAUSE_SESSION_ENDED};
    send_message(&shared, OSB_KILL, 1, &request, sizeof request, NULL, 0, NULL, 0);
    exited = wait_exited(&shared, &id);
    CHECK_INT(id, stays);
    CHECK_INT(exited.cause, OSB_CAUSE_SESSION_ENDED);
    PRINTS(&shared, "pgrep -c sleep || true", "0\n");
    for (int i = 0; with_kit && i < 2; i++) CHECK(remove_kit(kits[i]));
  }
  struct osb_kill unknown = {123456789, OSB_CAUSE_CANCELLED};
  send_message(&shared, OSB_KILL, 1, &unknown, sizeof unknown, NULL, 0, NULL, 0);
  PRINTS(&shared, "echo alive", "alive\n");
}

/* Whoever stops everything must not stop init with a half-started command. */
static void stopping_everything_stops_nobody_else(void) {
  static const char *const stopper[] = {"python3", "-c",
                                        "import os,signal\nwhile 1:\n for p in range(2,400):\n  try:\n   if "
                                        "p!=os.getpid(): os.kill(p,19)\n  except OSError: pass",
                                        NULL};
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  uint64_t id, hostile = start_run(&sandbox, WITH(.wall_ms = 1500), stopper);
  usleep(200000);
  for (int i = 0; i < 10; i++) start_run(&sandbox, WITH(.wall_ms = 300), (const char *const[]){"true", NULL});
  for (int i = 0; i < 10; i++) {
    struct osb_exited exited = wait_exited(&sandbox, &id);
    CHECK(id != hostile);
    CHECK(exited.cause == OSB_CAUSE_WALL_LIMIT || exited.cause == OSB_CAUSE_EXITED);
  }
  CHECK_INT(wait_exited(&sandbox, &id).cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void many_jobs_at_once(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  const char *const sleeper[] = {"sleep", "100", NULL};
  uint64_t id;
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++) start_run(&sandbox, WITH(.wall_ms = 3000), sleeper);
  uint64_t last = start_run(&sandbox, NULL, sleeper);
  struct osb_exited exited = wait_exited(&sandbox, &id);
  CHECK_INT(id, last);
  CHECK_INT(exited.stage, OSB_STAGE_REQUEST);
  CHECK_INT(exited.error, EAGAIN);
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++) {
    exited = wait_exited(&sandbox, &id);
    CHECK_INT(exited.cause, OSB_CAUSE_WALL_LIMIT);
  }
  PRINTS(&sandbox, "pgrep -c sleep || true", "0\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void end_of_file_kills_all(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  int out[2];
  if (pipe2(out, O_CLOEXEC) < 0) give_up("pipe");
  const char *const nested[] = {"sh", "-c", "trap '' TERM HUP; setsid sleep 100 & sleep 100", NULL};
  for (int i = 0; i < 5; i++) start_run(&sandbox, NULL, nested);
  usleep(50000);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
  close(out[0]);
  close(out[1]);
}

static const struct test tests[] = {
    CGROUP_TEST(descendants_end_with_the_command),
    CGROUP_TEST(kill_ends_one_job_only),
    TEST(stopping_everything_stops_nobody_else),
    TEST(many_jobs_at_once),
    TEST(end_of_file_kills_all),
};
const struct suite ends_suite = SUITE(tests);
