/* The engine on the real kernel with the real init, as root. */
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

/* ---- Runs ---- */

static void exec_reports_how_a_command_ended(void) {
  struct result *result = shell(engine, box, "echo out; echo err >&2; exit 7");
  CHECK_TEXT(result->error.text, "");
  CHECK_INT(result->outcome.cause, OSB_CAUSE_EXITED);
  CHECK_INT(result->outcome.exit_code, 7);
  CHECK_INT(result->outcome.signal, 0);
  CHECK_INT(result->outcome.stage, OSB_STAGE_NONE);
  CHECK_INT(result->outcome.leftover, 0);
  CHECK_TEXT((char *)result->outcome.out, "out\n");
  CHECK_TEXT((char *)result->outcome.err, "err\n");
  CHECK_INT(result->outcome.out_truncated, false);
  CHECK_INT(result->outcome.cpu_us > 0, true);
  CHECK_INT(result->outcome.memory_peak_bytes > 0, true);
  result_free(result);
  result = shell(engine, box, "kill -SEGV $$");
  CHECK_INT(result->outcome.cause, OSB_CAUSE_SIGNALED);
  CHECK_INT(result->outcome.signal, SIGSEGV);
  CHECK_INT(result->outcome.exit_code, -1);
  result_free(result);
}

static void exec_of_nothing_fails_in_the_result(void) {
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("", words);
  words[0] = "/bin/there-is-no-such-program";
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(result->error.code, 0);
  CHECK_INT(result->outcome.cause, OSB_CAUSE_EXEC_FAILED);
  CHECK_INT(result->outcome.stage, OSB_STAGE_EXEC);
  CHECK_INT(result->outcome.error, ENOENT);
  CHECK_INT(result->outcome.err_bytes, 0);
  result_free(result);
}

static void both_outputs_are_drained_at_once(void) {
  struct result *result = shell(
      engine, box, "head -c 1048576 /dev/zero >&2 & head -c 1048576 /dev/zero; wait; echo end; echo end >&2");
  CHECK_INT(result->outcome.exit_code, 0);
  CHECK_INT(result->outcome.out_bytes, 1048576 + 4);
  CHECK_INT(result->outcome.err_bytes, 1048576 + 4);
  CHECK_TEXT((char *)result->outcome.out + 1048576, "end\n");
  CHECK_TEXT((char *)result->outcome.err + 1048576, "end\n");
  result_free(result);
}

static void output_beyond_the_limit_is_dropped_and_said(void) {
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("printf 12345; head -c 300000 /dev/zero >&2; printf 67890; exit 3", words);
  config.output_bytes = 10;
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(result->outcome.exit_code, 3);
  CHECK_TEXT((char *)result->outcome.out, "1234567890");
  CHECK_INT(result->outcome.out_truncated, false);
  CHECK_INT(result->outcome.err_bytes, 10);
  CHECK_INT(result->outcome.err_truncated, true);
  result_free(result);
  config.output_bytes = 0;
  result = exec_wait(engine, box, &config);
  CHECK_INT(result->outcome.out_bytes, 0);
  CHECK_INT(result->outcome.out_truncated, true);
  result_free(result);
}

static void input_of_any_size_arrives(void) {
  size_t sizes[] = {1, 65536, 65537, 5000000};
  for (int i = 0; i < 4; i++) {
    uint8_t *input = malloc(sizes[i]);
    for (size_t at = 0; at < sizes[i]; at++) input[at] = (uint8_t)(at * 7 + at / 251);
    const char *words[MAX_WORDS];
    struct osb_exec_config config = exec_shell("exec cat", words);
    config.stdin_data = input;
    config.stdin_bytes = sizes[i];
    struct result *result = exec_wait(engine, box, &config);
    CHECK_INT(result->outcome.out_bytes, sizes[i]);
    CHECK_INT(result->outcome.out_bytes == sizes[i] && memcmp(result->outcome.out, input, sizes[i]) == 0, true);
    result_free(result);
    free(input);
  }
}

static void input_need_not_be_read(void) {
  uint8_t *input = calloc(1, 1000000);
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("exit 4", words);
  config.stdin_data = input;
  config.stdin_bytes = 1000000;
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(result->outcome.exit_code, 4);
  result_free(result);
  free(input);
}

static void outputs_can_be_opened_by_name(void) {
  struct result *result = shell(engine, box, "echo out > /proc/self/fd/1; echo err > /proc/self/fd/2");
  CHECK_TEXT((char *)result->outcome.out, "out\n");
  CHECK_TEXT((char *)result->outcome.err, "err\n");
  result_free(result);
}

static void no_input_is_end_of_file(void) {
  struct result *result = shell(engine, box, "cat; echo $?");
  CHECK_TEXT((char *)result->outcome.out, "0\n");
  result_free(result);
}

static void strings_beyond_a_packet_arrive(void) {
  /* One string may have 128 KiB less its NUL; two of 100,000 go through a memfd. */
  char *long_word = malloc(100001);
  memset(long_word, 'x', 100000);
  long_word[100000] = 0;
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("printf %s%s \"$1\" \"$2\" | wc -c", words);
  words[3] = "sh";
  words[4] = words[5] = long_word;
  config.argc = 6;
  struct result *result = exec_wait(engine, box, &config);
  CHECK_TEXT((char *)result->outcome.out, "200000\n");
  result_free(result);
  free(long_word);
}

static void more_strings_than_execve_takes_are_refused(void) {
  char *long_word = malloc(7000001);
  memset(long_word, 'x', 7000000);
  long_word[7000000] = 0;
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell(long_word, words);
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(result->error.code, E2BIG);
  result_free(result);
  free(long_word);
}

#define MANY 50
static void fifty_commands_at_once(void) {
  struct result *results[MANY];
  for (int i = 0; i < MANY; i++) {
    char script[64];
    snprintf(script, sizeof script, "echo %d; exit %d", i, i);
    const char *words[MAX_WORDS];
    struct osb_exec_config config = exec_shell(script, words);
    config.memory_bytes = (64u + (uint64_t)i) << 20; /* no two limits are the same */
    results[i] = result_new();
    exec_start(engine, box, &config, results[i]);
  }
  for (int i = 0; i < MANY; i++) {
    char expected[16];
    snprintf(expected, sizeof expected, "%d\n", i);
    result_wait(results[i]);
    CHECK_TEXT(results[i]->error.text, "");
    CHECK_TEXT((char *)results[i]->outcome.out, expected);
    CHECK_INT(results[i]->outcome.exit_code, i);
    result_free(results[i]);
  }
}

#define LIMIT_SCRIPT "exec 2>/dev/null; head -c 100000000 /dev/zero | tail -c 100000000 | wc -c"
static void limits_follow_each_command(void) {
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell(LIMIT_SCRIPT, words);
  /* Down, up, down again: the spare kit's limits are the last command's. */
  for (int i = 0; i < 4; i++) {
    config.memory_bytes = i % 2 ? 400u << 20 : 20u << 20;
    struct result *result = exec_wait(engine, box, &config);
    CHECK_INT(result->outcome.cause, i % 2 ? OSB_CAUSE_EXITED : OSB_CAUSE_MEMORY_LIMIT);
    if (i % 2) CHECK_TEXT((char *)result->outcome.out, "100000000\n");
    result_free(result);
  }
  config = exec_shell("for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; echo all", words);
  config.processes = 3;
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(strstr((char *)result->outcome.err, "Cannot fork") != NULL ||
                strstr((char *)result->outcome.err, "Resource temporarily unavailable") != NULL,
            true);
  result_free(result);
}

static void wall_and_cpu_limits_have_their_causes(void) {
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("sleep 60", words);
  config.wall_ms = 100;
  struct result *result = exec_wait(engine, box, &config);
  CHECK_INT(result->outcome.cause, OSB_CAUSE_WALL_LIMIT);
  result_free(result);
  config = exec_shell("while :; do :; done", words);
  config.cpu_ms = 100;
  result = exec_wait(engine, box, &config);
  CHECK_INT(result->outcome.cause, OSB_CAUSE_CPU_LIMIT);
  result_free(result);
}

static void a_pipe_kept_by_another_command_does_not_delay(void) {
  /* fd 1 of the first stays open in the second, which reaches it through /proc. */
  const char *words[MAX_WORDS], *more[MAX_WORDS];
  struct osb_exec_config first = exec_shell("touch /tmp/ready; echo $$ > /tmp/pid; sleep 0.5; echo last", words);
  struct osb_exec_config second = exec_shell(
      "while ! test -s /tmp/pid; do sleep 0.01; done; exec 5>/proc/$(cat /tmp/pid)/fd/1; sleep 60", more);
  struct result *one = result_new(), *two = result_new();
  exec_start(engine, box, &first, one);
  uint64_t run = exec_start(engine, box, &second, two);
  result_wait(one);
  CHECK_INT(two->calls, 0);
  CHECK_TEXT((char *)one->outcome.out, "last\n");
  osb_kill(engine, box, run, OSB_CAUSE_CANCELLED);
  result_wait(two);
  CHECK_INT(two->outcome.cause, OSB_CAUSE_CANCELLED);
  CHECK_TEXT((char *)two->outcome.err, "");
  result_free(one);
  result_free(two);
}

/* ---- Kill ---- */

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

static void kill_ends_a_run_with_its_cause(void) {
  uint32_t causes[] = {OSB_CAUSE_CANCELLED, OSB_CAUSE_SESSION_ENDED};
  for (int i = 0; i < 20; i++) {
    const char *words[MAX_WORDS];
    struct osb_exec_config config = exec_shell("setsid sleep 1000 & echo begun; sleep 1000", words);
    struct result *result = result_new();
    uint64_t run = exec_start(engine, box, &config, result);
    CHECK_INT(run != 0, true);
    sleep_ms(i * 4); /* from before its first fork to after it */
    osb_kill(engine, box, run, causes[i % 2]);
    result_wait(result);
    CHECK_INT(result->outcome.cause, causes[i % 2]);
    CHECK_INT(result->outcome.leftover, 0);
    result_free(result);
    osb_kill(engine, box, run, causes[i % 2]); /* is gone: nothing happens */
  }
  struct result *left = shell(engine, box, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep) [^ZX]'");
  CHECK_TEXT((char *)left->outcome.out, "0\n");
  result_free(left);
}

static void kill_before_init_knows_the_run(void) {
  struct result *results[20];
  uint64_t runs[20];
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("sleep 1000", words);
  for (int i = 0; i < 20; i++) { /* all but the first wait for kits */
    results[i] = result_new();
    runs[i] = exec_start(engine, box, &config, results[i]);
  }
  for (int i = 19; i >= 0; i--) osb_kill(engine, box, runs[i], OSB_CAUSE_CANCELLED);
  for (int i = 0; i < 20; i++) {
    result_wait(results[i]);
    CHECK_INT(results[i]->outcome.cause, OSB_CAUSE_CANCELLED);
    result_free(results[i]);
  }
}

/* ---- Files ---- */

static void files_are_written_and_read(void) {
  size_t sizes[] = {0, 1, 65536, 65537, 98000, 98304, 98305, 10000000};
  for (int i = 0; i < 8; i++) {
    uint8_t *content = malloc(sizes[i] + 1);
    for (size_t at = 0; at < sizes[i]; at++) content[at] = (uint8_t)(at * 13 + at / 253);
    struct result *result = file_write(engine, box, "/tmp/deep/er/file", content, sizes[i]);
    CHECK_TEXT(result->error.text, "");
    result_free(result);
    result = file_read(engine, box, "/tmp/deep/er/file", sizes[i]);
    CHECK_TEXT(result->error.text, "");
    CHECK_INT(result->count, sizes[i]);
    CHECK_INT(result->count == sizes[i] && memcmp(result->bytes, content, sizes[i]) == 0, true);
    result_free(result);
    if (sizes[i] == 0) {
      free(content);
      continue;
    }
    result = file_read(engine, box, "/tmp/deep/er/file", sizes[i] - 1);
    CHECK_INT(result->error.code, EFBIG);
    result_free(result);
    free(content);
  }
}

static void file_errors_are_inits(void) {
  struct result *result = file_read(engine, box, "/tmp/none", 10);
  CHECK_INT(result->error.code, ENOENT);
  CHECK_TEXT(result->error.text, "read /tmp/none: No such file or directory");
  result_free(result);
  result = file_read(engine, box, "/tmp", 10);
  CHECK_INT(result->error.code, EISDIR);
  result_free(result);
  result = file_write(engine, box, "/usr/bin/true", "x", 1);
  CHECK_INT(result->error.code, EROFS);
  result_free(result);
  result = file_read(engine, box, "/dev/zero", 10);
  CHECK_INT(result->error.code, EINVAL);
  result_free(result);
  result_free(shell(engine, box, "mkfifo /tmp/fifo"));
  result = file_read(engine, box, "/tmp/fifo", 10);
  CHECK_INT(result->error.code, EINVAL);
  result_free(result);
  char path[5000];
  memset(path, '/', sizeof path);
  path[4999] = 0;
  result = file_read(engine, box, path, 10);
  CHECK_INT(result->error.code, ENAMETOOLONG);
  result_free(result);
}

static void directories_are_listed_and_checked(void) {
  result_free(shell(engine, box,
                    "mkdir -p /tmp/list/dir; printf 123 > /tmp/list/file; ln -s dir /tmp/list/link; "
                    "mkfifo /tmp/list/fifo"));
  struct result *result = directory_list(engine, box, "/tmp/list", 4);
  CHECK_TEXT(result->error.text, "");
  CHECK_INT(result->count, 4);
  for (size_t i = 0; i < result->count; i++) {
    CHECK_INT(result->is_directory[i], strcmp(result->names[i], "dir") == 0);
    if (strcmp(result->names[i], "file") == 0) CHECK_INT(result->sizes[i], 3);
  }
  result_free(result);
  result = directory_list(engine, box, "/tmp/list", 3);
  CHECK_INT(result->error.code, EOVERFLOW);
  result_free(result);
  const char *paths[] = {"/tmp/list", "/tmp/list/link", "/tmp/list/file", "/tmp/list/none"};
  int codes[] = {0, 0, ENOTDIR, ENOENT};
  for (int i = 0; i < 4; i++) {
    result = directory_check(engine, box, paths[i]);
    CHECK_INT(result->error.code, codes[i]);
    result_free(result);
  }
  result = directory_list(engine, box, "/tmp/list/file", 10);
  CHECK_INT(result->error.code, ENOTDIR);
  result_free(result);
}

/* ---- The life of sandboxes ---- */

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
    TEST(exec_reports_how_a_command_ended),
    TEST(exec_of_nothing_fails_in_the_result),
    TEST(both_outputs_are_drained_at_once),
    TEST(output_beyond_the_limit_is_dropped_and_said),
    TEST(input_of_any_size_arrives),
    TEST(input_need_not_be_read),
    TEST(outputs_can_be_opened_by_name),
    TEST(no_input_is_end_of_file),
    TEST(strings_beyond_a_packet_arrive),
    TEST(more_strings_than_execve_takes_are_refused),
    TEST(fifty_commands_at_once),
    TEST(limits_follow_each_command),
    TEST(wall_and_cpu_limits_have_their_causes),
    TEST(a_pipe_kept_by_another_command_does_not_delay),
    TEST(kill_ends_a_run_with_its_cause),
    TEST(kill_before_init_knows_the_run),
    TEST(files_are_written_and_read),
    TEST(file_errors_are_inits),
    TEST(directories_are_listed_and_checked),
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
