/* Runs and files in a sandbox, on the real kernel with the real init, as root. */
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
