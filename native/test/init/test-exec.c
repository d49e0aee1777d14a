/* A command gets exactly what its EXEC says, or EXITED says where it failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests.h"

static void command_gets_what_it_is_given(void) {
  struct result *r = RUN(&shared, WITH(.input = "from stdin"), "cat");
  CHECK_TEXT(r->out, "from stdin");
  EXITED_WITH(r, 0);
  r = SH(&shared, WITH(.cwd = "/var/tmp"), "pwd; echo to stderr >&2; exit 7");
  CHECK_TEXT(r->out, "/var/tmp\n");
  CHECK_TEXT(r->err, "to stderr\n");
  EXITED_WITH(r, 7);
  r = RUN(&shared, NULL, "printf", "%s|", "", "a b", "*", "\xff\xfe");
  CHECK_TEXT(r->out, "|a b|*|\xff\xfe|");
  r = RUN(&shared, NULL, "env");
  CHECK_TEXT(r->out, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\n");
  const char *env[] = {"HOME=/tmp", "A=b=c", "PATH=/nowhere:/usr/bin", "EMPTY=", NULL};
  r = RUN(&shared, WITH(.env = env), "env");
  CHECK_TEXT(r->out, "HOME=/tmp\nA=b=c\nPATH=/nowhere:/usr/bin\nEMPTY=\n");
}

static void command_sees_three_descriptors(void) {
  PRINTS(&shared, "ls /proc/$$/fd", "0\n1\n2\n");
  uint32_t kit = have_cgroups() ? make_kit(&shared, &(struct kit_options){0}) : 0;
  struct result *r = SH(&shared, WITH(.kit = kit), "ls /proc/$$/fd");
  CHECK_TEXT(r->out, "0\n1\n2\n");
  CHECK(kit == 0 || remove_kit(kit));
}

static void signals_are_default_and_reported(void) {
  PRINTS(&shared, "cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)' | tr '\\t' ' '",
         "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\nSigCgt: 0000000000000000\n");
  for (size_t i = 0; i < 3; i++) {
    static const int numbers[] = {SIGTERM, SIGKILL, SIGSEGV};
    char script[32];
    snprintf(script, sizeof script, "kill -%d $$", numbers[i]);
    struct result *r = SH(&shared, NULL, script);
    CHECK_INT(r->exited.cause, OSB_CAUSE_SIGNALED);
    CHECK_INT(r->exited.signal, numbers[i]);
    CHECK_INT(r->exited.exit_code, -1);
  }
}

static void exec_failures_say_where(void) {
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, "no-such-command"));
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, "/no/such/file"));
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, ""));
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, NULL, "/etc/passwd"));
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, NULL, "/usr"));
  const char *env[] = {"PATH=/etc", NULL};
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, WITH(.env = env), "passwd"));
  CHECK_INT(write_inside(&shared, "/tmp/no-interpreter", "echo hi\n", 8, 0), 0);
  PRINTS(&shared, "chmod +x /tmp/no-interpreter", "");
  EXEC_FAILS(OSB_STAGE_EXEC, ENOEXEC, RUN(&shared, NULL, "/tmp/no-interpreter"));
  EXEC_FAILS(OSB_STAGE_CWD, ENOENT, RUN(&shared, WITH(.cwd = "/nowhere"), "true"));
  EXEC_FAILS(OSB_STAGE_CWD, ENOTDIR, RUN(&shared, WITH(.cwd = "/etc/passwd"), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, RUN(&shared, WITH(.cwd = "relative"), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, ENOENT, RUN(&shared, WITH(.kit = 999999), "true"));
  const char *nameless[] = {"NOT-A-PAIR", NULL};
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, RUN(&shared, WITH(.env = nameless), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, run(&shared, NULL, (const char *const[]){NULL}));
}

static void large_arguments_come_in_a_memfd(void) {
  size_t bytes = 100000;
  char *large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  struct result *r = RUN(&shared, WITH(.memfd = true), "sh", "-c", "echo ${#1}", "sh", large);
  CHECK_TEXT(r->out, "100000\n");
  free(large);
  bytes = 3u << 20;
  large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  EXEC_FAILS(OSB_STAGE_EXEC, E2BIG, RUN(&shared, WITH(.memfd = true), "true", large));
  free(large);
}

static const struct test tests[] = {
    TEST(command_gets_what_it_is_given),
    TEST(command_sees_three_descriptors),
    TEST(signals_are_default_and_reported),
    TEST(exec_failures_say_where),
    TEST(large_arguments_come_in_a_memfd),
};
const struct suite exec_suite = SUITE(tests);
