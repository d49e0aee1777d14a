/* What the files of tests share: expectations of whole runs, and how a file offers its tests. */
#ifndef OSB_TESTS_H
#define OSB_TESTS_H

#include "harness.h"

#define EXITED_WITH(result, code)                        \
  do {                                                   \
    CHECK_INT((result)->exited.cause, OSB_CAUSE_EXITED); \
    CHECK_INT((result)->exited.stage, OSB_STAGE_NONE);   \
    CHECK_INT((result)->exited.exit_code, code);         \
    CHECK_INT((result)->exited.signal, 0);               \
    CHECK_INT((result)->exited.leftover, 0);             \
  } while (0)
#define PRINTS(sandbox, script, expected)               \
  do {                                                  \
    struct result *printed = SH(sandbox, NULL, script); \
    CHECK_TEXT(printed->out, expected);                 \
    CHECK_TEXT(printed->err, "");                       \
    EXITED_WITH(printed, 0);                            \
  } while (0)
#define EXEC_FAILS(where, code, ...)                        \
  do {                                                      \
    struct result *failed = __VA_ARGS__;                    \
    CHECK_INT(failed->exited.cause, OSB_CAUSE_EXEC_FAILED); \
    CHECK_INT(failed->exited.stage, where);                 \
    CHECK_INT(failed->exited.error, code);                  \
    CHECK_INT(failed->exited.exit_code, -1);                \
    CHECK_TEXT(failed->out, "");                            \
    CHECK_TEXT(failed->err, "");                            \
  } while (0)

extern struct sandbox shared; /* of the tests that leave it as it was; anew for each */

struct test {
  const char *name;
  void (*run)(void);
  bool needs_cgroups;
  bool alone; /* without the shared sandbox */
};
#define TEST(name) {#name, name, false, false}
#define CGROUP_TEST(name) {#name, name, true, false}
/* Asks for children of ours: none may be left of the shared sandbox then. */
#define LONE_TEST(name) {#name, name, false, true}

struct suite {
  const struct test *tests;
  size_t count;
};
#define SUITE(tests) {tests, sizeof tests / sizeof *tests}
extern const struct suite setup_suite, privileges_suite, exec_suite, limits_suite, ends_suite;
extern const struct suite files_suite, packets_suite, spawn_suite;

#endif
