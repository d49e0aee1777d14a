/* What the engine adds to a bare spawn, without JavaScript: exec of /bin/true in a warm sandbox beside posix_spawn and
 * wait of the same, in turns, so that both see the same load; create and destroy. Argument: how many times. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

extern char **environ;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double report(const char *name, double *times, int count) {
  qsort(times, (size_t)count, sizeof *times, by_value);
  printf("%-8s p10 %.3f  p50 %.3f  p90 %.3f  p99 %.3f ms\n", name, times[count / 10], times[count / 2],
         times[count * 9 / 10], times[count * 99 / 100]);
  return times[count / 2];
}

static double floor_ms(void) {
  char *words[] = {"true", NULL};
  pid_t pid;
  double start = now_ms();
  if (posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ) == 0) waitpid(pid, NULL, 0);
  return now_ms() - start;
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 500;
  struct osb_engine *engine = engine_open(OSB_CGROUP_CHOOSE);
  uint64_t sandbox = sandbox_create(engine);
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell("", words);
  words[0] = "/bin/true";
  config.argc = 1;
  double *bare = calloc((size_t)count, sizeof *bare), *ours = calloc((size_t)count, sizeof *ours);
  double *inside = calloc((size_t)count, sizeof *inside);
  for (int i = -20; i < count; i++) {
    double floor = floor_ms(), start = now_ms();
    struct result *result = exec_wait(engine, sandbox, &config);
    if (i >= 0) {
      bare[i] = floor;
      ours[i] = now_ms() - start;
      inside[i] = (double)result->outcome.wall_us / 1e3;
    }
    result_free(result);
  }
  double floor = report("floor", bare, count);
  report("in init", inside, count);
  printf("ratio    p50 %.2f\n", report("exec", ours, count) / floor);
  sandbox_destroy(engine, sandbox);
  int rounds = count / 10;
  for (int i = 0; i < rounds; i++) {
    double start = now_ms();
    sandbox = sandbox_create(engine);
    ours[i] = now_ms() - start;
    sleep_ms(5);
    start = now_ms();
    sandbox_destroy(engine, sandbox);
    inside[i] = now_ms() - start;
  }
  report("create", ours, rounds);
  report("destroy", inside, rounds);
  engine_close(engine);
  return 0;
}
