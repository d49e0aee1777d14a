/* Sandboxes and engines, from their start to their end, on the real kernel with the real init, as root. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"

static struct osb_engine *engine;
static uint64_t box;

/* ---- The life of sandboxes ---- */

/* Until a command in the sandbox has made the file. */
static void wait_for_file(struct osb_engine *where, uint64_t sandbox, const char *path) {
  for (int i = 0; i < 1000; i++) {
    struct result *result = file_read(where, sandbox, path, 100);
    bool there = result->error.code == 0;
    result_free(result);
    if (there) return;
    sleep_ms(10);
  }
  CHECK_TEXT("no file", path);
}

static void create_says_what_init_could_not_set_up(void) {
  struct osb_sandbox_config config;
  default_sandbox(&config);
  struct osb_bind binds[] = {{"/usr", "/usr"}, {"/there/is/no/such", "/x"}};
  config.binds = binds;
  config.nbinds = 2;
  struct result *result = sandbox_try(engine, &config);
  CHECK_INT(result->error.code, ENOENT);
  CHECK_STARTS(result->error.text, "set up a sandbox: ");
  result_free(result);
  char *content = malloc(200001);
  memset(content, 'x', 200000);
  content[200000] = 0;
  default_sandbox(&config);
  struct osb_file file = {"/etc/large", content};
  config.files = &file;
  config.nfiles = 1;
  result = sandbox_try(engine, &config);
  CHECK_INT(result->error.code, E2BIG);
  result_free(result);
  free(content);
}

static void destroy_ends_runs_first(void) {
  uint64_t sandbox = sandbox_create(engine);
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("echo before; touch /tmp/begun.$$; test -e /tmp/all || touch /tmp/all; sleep 1000", words);
  struct result *runs[3];
  for (int i = 0; i < 3; i++) {
    runs[i] = result_new();
    exec_start(engine, sandbox, &config, runs[i]);
  }
  sleep_ms(300);
  struct osb_error error = sandbox_destroy(engine, sandbox);
  CHECK_TEXT(error.text, "");
  for (int i = 0; i < 3; i++) {
    CHECK_INT(runs[i]->calls, 1); /* without waiting */
    CHECK_INT(runs[i]->outcome.cause, OSB_CAUSE_SESSION_ENDED);
    CHECK_TEXT((char *)runs[i]->outcome.out, "before\n");
    CHECK_TEXT(runs[i]->text, "the sandbox was destroyed");
    CHECK_INT(runs[i]->outcome.cpu_us > 0, true);
    CHECK_INT(runs[i]->outcome.wall_us >= 250000, true);
    result_free(runs[i]);
  }
  CHECK_INT(sandbox_destroy(engine, sandbox).code, 0);
  CHECK_INT(sandbox_destroy(engine, 1234567890).code, ESRCH);
  struct result *late = shell(engine, sandbox, "true");
  CHECK_INT(late->error.code, ESRCH);
  result_free(late);
  late = file_read(engine, sandbox, "/etc/passwd", 1);
  CHECK_INT(late->error.code, ESRCH);
  result_free(late);
}

/* Init is alone in its session's own group; commands have groups below it. */
static pid_t init_of(int engine_number, uint64_t sandbox) {
  char script[512];
  snprintf(script, sizeof script,
           "find /sys/fs/cgroup/memory -path '*opensandbox-test-engine-%d-%d/s%llu/cgroup.procs' -exec cat {} + 2>/dev/null",
           getpid(), engine_number, (unsigned long long)sandbox);
  FILE *file = popen(script, "re");
  int pid = 0;
  if (!file || fscanf(file, "%d", &pid) != 1) pid = 0;
  if (file) pclose(file);
  return pid;
}

static void a_lost_init_is_told_once(void) {
  forget_lost();
  struct osb_engine *other = engine_open(OSB_CGROUP_CHOOSE);
  uint64_t sandbox = sandbox_create(other);
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("echo begun; touch /tmp/begun; sleep 1000", words);
  struct result *run = result_new();
  exec_start(other, sandbox, &config, run);
  wait_for_file(other, sandbox, "/tmp/begun");
  pid_t pid = init_of(engines_opened(), sandbox);
  CHECK_INT(pid > 1, true);
  if (pid > 1) kill(pid, SIGKILL);
  result_wait(run);
  CHECK_INT(run->error.code, 0);
  CHECK_INT(run->outcome.cause, OSB_CAUSE_SESSION_ENDED);
  CHECK_TEXT(run->text, "sandbox lost: init was killed by signal 9");
  CHECK_TEXT((char *)run->outcome.out, "begun\n");
  CHECK_INT(wait_lost(1), 1);
  CHECK_TEXT(lost_reason, "init was killed by signal 9");
  CHECK_INT(sandbox_destroy(other, sandbox).code, 0);
  CHECK_INT(wait_lost(1), 1);
  result_free(run);
  engine_close(other);
}

static void *churn(void *argument) {
  for (int i = 0; i < 4; i++) {
    uint64_t sandbox = sandbox_create(argument);
    struct result *result = shell(argument, sandbox, "echo $$");
    CHECK_INT(result->outcome.exit_code, 0);
    result_free(result);
    CHECK_INT(sandbox_destroy(argument, sandbox).code, 0);
  }
  return NULL;
}

static void sandboxes_are_made_and_ended_by_several_threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, churn, engine);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void ignore_created(void *context, const struct osb_error *error, uint64_t sandbox) {
  (void)sandbox;
  *(int *)context = error ? error->code : 0;
}

static void close_leaves_nothing(void) {
  int descriptors = count_descriptors(), threads = count_threads(), children = count_children();
  int cgroups = count_cgroups();
  struct osb_engine *other = engine_open(OSB_CGROUP_CHOOSE);
  struct result *runs[3];
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("setsid sleep 1000 & sleep 1000", words);
  for (int i = 0; i < 3; i++) {
    runs[i] = result_new();
    exec_start(other, sandbox_create(other), &config, runs[i]);
  }
  struct osb_sandbox_config sandbox;
  default_sandbox(&sandbox);
  int created = -1;
  osb_sandbox_create(other, &sandbox, ignore_created, &created);
  engine_close(other);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(runs[i]->calls, 1);
    CHECK_INT(runs[i]->outcome.cause, OSB_CAUSE_SESSION_ENDED);
    result_free(runs[i]);
  }
  CHECK_INT(created == ECANCELED || created == 0, true);
  CHECK_INT(count_descriptors(), descriptors);
  /* pthread_join returns shortly before the kernel has taken a thread out of /proc. */
  for (int i = 0; i < 200 && count_threads() != threads; i++) sleep_ms(5);
  CHECK_INT(count_threads(), threads);
  CHECK_INT(count_children(), children);
  CHECK_INT(count_cgroups(), cgroups);
}

/* ---- Engines ---- */

static void a_name_belongs_to_one_living_engine(void) {
  char name[64];
  snprintf(name, sizeof name, "test-engine-%d-twice", getpid());
  struct osb_engine_config config = {.name = name};
  struct osb_error error;
  struct osb_engine *first = osb_engine_open(&config, &error);
  CHECK_INT(first != NULL, true);
  CHECK_INT(osb_engine_open(&config, &error) == NULL, true);
  CHECK_INT(error.code, EBUSY);
  engine_close(first);
  struct osb_engine *second = osb_engine_open(&config, &error);
  CHECK_INT(second != NULL, true);
  engine_close(second);
  config.name = "a/b";
  CHECK_INT(osb_engine_open(&config, &error) == NULL, true);
  CHECK_INT(error.code, EINVAL);
}

static void what_a_dead_engine_left_is_swept(void) {
  char name[64], script[512];
  snprintf(name, sizeof name, "test-engine-%d-dead", getpid());
  snprintf(script, sizeof script,
           "for c in memory pids cpuacct; do d=/sys/fs/cgroup/$c$(grep \":$c:\" /proc/self/cgroup | cut -d: -f3)"
           "/opensandbox-%s/s1/r1; mkdir -p $d && echo $$ > $d/cgroup.procs; done; setsid sleep 1000 & exit 0",
           name);
  CHECK_INT(system(script), 0);
  struct osb_engine_config config = {.name = name};
  struct osb_error error = {0};
  struct osb_engine *other = osb_engine_open(&config, &error);
  CHECK_TEXT(error.text, "");
  CHECK_INT(count_cgroups(), count_cgroups());
  if (other) engine_close(other);
  snprintf(script, sizeof script, "! find /sys/fs/cgroup 2>/dev/null -name 'opensandbox-%s' | grep -q .", name);
  CHECK_INT(system(script), 0);
}

static void other_drivers_run_commands(void) {
  enum osb_cgroup_choice choices[] = {OSB_CGROUP_USE_NONE, OSB_CGROUP_USE_V2};
  for (int i = 0; i < 2; i++) {
    if (choices[i] == OSB_CGROUP_USE_V2 && access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) != 0 &&
        access("/sys/fs/cgroup/cgroup.procs", F_OK) != 0) {
      printf("  skipped: no cgroup2 here\n");
      continue;
    }
    struct osb_engine *other = engine_open(choices[i]);
    uint64_t sandbox = sandbox_create(other);
    for (int n = 0; n < 3; n++) {
      struct result *result = shell(other, sandbox, "setsid sleep 1000 & echo done; exit 5");
      CHECK_TEXT(result->error.text, "");
      CHECK_TEXT((char *)result->outcome.out, "done\n");
      CHECK_INT(result->outcome.exit_code, 5);
      CHECK_INT(result->outcome.leftover, 0);
      CHECK_INT(result->outcome.cpu_us > 0, true);
      result_free(result);
    }
    CHECK_TEXT(sandbox_destroy(other, sandbox).text, "");
    engine_close(other);
  }
  CHECK_INT(count_cgroups() > 0, true); /* the engine of the other tests */
}

static void host_is_fit(void) {
  struct osb_host_report report;
  osb_host_inspect(&report);
  for (size_t i = 0; i < report.nproblems; i++) printf("  problem: %s\n", report.problems[i]);
  CHECK_TEXT(report.wall, "timer");
  CHECK_TEXT(report.fsize, "rlimit");
  CHECK_TEXT(report.disk, "tmpfs");
  CHECK_TEXT(report.memory, report.cgroup);
}

#define TEST(name) {#name, name}
static const struct test tests[] = {
    TEST(create_says_what_init_could_not_set_up),
    TEST(destroy_ends_runs_first),
    TEST(a_lost_init_is_told_once),
    TEST(sandboxes_are_made_and_ended_by_several_threads),
    TEST(close_leaves_nothing),
    TEST(a_name_belongs_to_one_living_engine),
    TEST(what_a_dead_engine_left_is_swept),
    TEST(other_drivers_run_commands),
    TEST(host_is_fit),
};

int main(int argc, char **argv) {
  if (geteuid() != 0) {
    printf("skipped: needs root\n0 passed, 0 failed\n");
    return 0;
  }
  engine = engine_open(OSB_CGROUP_CHOOSE);
  box = sandbox_create(engine);
  int status = run_tests(tests, sizeof tests / sizeof *tests, argc, argv);
  engine_close(engine);
  if (count_cgroups() > 0) {
    printf("cgroups were left behind\n");
    status = 1;
  }
  return status;
}
