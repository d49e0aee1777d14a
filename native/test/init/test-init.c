/* Tests of init and osb_spawn on the real kernel, as root. Every expectation is an exact value. An argument
 * runs only the tests with that in their name. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests.h"

struct sandbox shared;

static const struct suite *const suites[] = {&setup_suite, &privileges_suite, &exec_suite,    &limits_suite,
                                            &ends_suite,  &files_suite,      &packets_suite, &spawn_suite};
static int passed, failed, skipped;

static void run_test(const struct test *test) {
  if (test->needs_cgroups && !have_cgroups()) {
    printf("- %s: skipped, no writable cgroup v1\n", test->name);
    skipped++;
    return;
  }
  checks_failed = 0;
  start_sandbox(&shared, NULL);
  if (test->alone) CHECK_INT(end_sandbox(&shared), OSB_INIT_EOF);
  double start = now_us();
  test->run();
  double ms = (now_us() - start) / 1000;
  if (!test->alone) CHECK_INT(end_sandbox(&shared), OSB_INIT_EOF);
  printf("%s %s (%.0f ms)\n", checks_failed ? "✗" : "✓", test->name, ms);
  checks_failed ? failed++ : passed++;
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  if (geteuid() != 0) {
    printf("skipped: needs root\n0 passed, 0 failed\n");
    return 0;
  }
  for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
    for (size_t j = 0; j < suites[i]->count; j++)
      if (argc <= 1 || strstr(suites[i]->tests[j].name, argv[1])) run_test(&suites[i]->tests[j]);
  remove_cgroups();
  printf("%d passed, %d failed", passed, failed);
  if (skipped) printf(", %d skipped", skipped);
  printf("\n");
  return failed > 0;
}
