/* What init costs: clone to READY, and a command in a sandbox against posix_spawn of the same from here, in
 * turn. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

extern char **environ;

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void report(const char *name, double *values, int count, double floor) {
  qsort(values, (size_t)count, sizeof *values, compare);
  printf("%-34s p50 %7.0f  p90 %7.0f  p99 %7.0f us", name, values[count / 2], values[count * 9 / 10],
         values[count * 99 / 100]);
  if (floor > 0) printf("  %.2f of the floor", values[count / 2] / floor);
  printf("\n");
}

static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare);
  return values[count / 2];
}

static double spawn_once(const char *const *argv) {
  double start = now_us();
  pid_t pid;
  int status;
  if (posix_spawn(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0) give_up("posix_spawn");
  if (waitpid(pid, &status, 0) != pid) give_up("waitpid");
  return now_us() - start;
}

static double exec_once(struct sandbox *sandbox, const char *const *argv, bool with_kit) {
  uint32_t kit =
      with_kit ? make_kit(sandbox, &(struct kit_options){.memory_bytes = 256 << 20, .processes = 64}) : 0;
  usleep(300); /* the kit arrives ahead, as with the engine */
  double start = now_us();
  uint64_t id;
  start_run(sandbox, WITH(.kit = kit, .cpu_ms = 5000), argv);
  struct osb_exited exited = wait_exited(sandbox, &id);
  double time = now_us() - start;
  if (exited.cause != OSB_CAUSE_EXITED || exited.exit_code != 0)
    give_up("cause %u stage %u", exited.cause, exited.stage);
  if (kit && !remove_kit(kit)) give_up("kit not removed");
  return time;
}

static void print_memory(pid_t pid) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (!strncmp(line, "Rss:", 4) || !strncmp(line, "Pss:", 4) || !strncmp(line, "Private_Dirty:", 14))
      printf("%s", line);
  if (file) fclose(file);
}

int main(int argc, char **argv) {
  enum { STARTS = 100 };
  int rounds = argc > 1 ? atoi(argv[1]) : 500;
  double *spawns = calloc((size_t)rounds, sizeof *spawns), *plain = calloc((size_t)rounds, sizeof *plain),
         *kits = calloc((size_t)rounds, sizeof *kits), starts[STARTS], clones[STARTS];
  static const char *const command[] = {"/usr/bin/true", NULL};

  for (int i = 0; i < STARTS; i++) {
    struct sandbox sandbox;
    struct osb_setup_failed failed;
    double start = now_us();
    spawn_only(&sandbox, NULL);
    clones[i] = now_us() - start;
    send_setup(&sandbox, NULL);
    uint64_t id;
    if (receive_message(&sandbox, &id, &failed, sizeof failed, NULL) != OSB_READY)
      give_up("setup: %s", failed.what);
    starts[i] = now_us() - start;
    end_sandbox(&sandbox);
  }
  report("clone to exec of init", clones, STARTS, 0);
  report("clone to READY", starts, STARTS, 0);

  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  usleep(100000);
  print_memory(sandbox.init.pid);
  for (int i = 0; i < rounds; i++) {
    spawns[i] = spawn_once(command);
    plain[i] = exec_once(&sandbox, command, false);
    if (have_cgroups()) kits[i] = exec_once(&sandbox, command, true);
  }
  double floor = median(spawns, rounds);
  report("posix_spawn /usr/bin/true", spawns, rounds, 0);
  report("EXEC to EXITED, no cgroup", plain, rounds, floor);
  if (have_cgroups()) report("EXEC to EXITED, v1 kit made ahead", kits, rounds, floor);
  end_sandbox(&sandbox);
  remove_cgroups();
}
