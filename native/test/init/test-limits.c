/* The limits of a command. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests.h"

static void rlimits_are_set(void) {
  struct result *r = SH(&shared, WITH(.nofile = 33, .fsize_bytes = 4096), "ulimit -n; ulimit -Hn; ulimit -f");
  CHECK_TEXT(r->out, "33\n33\n8\n");
  r = SH(&shared, WITH(.fsize_bytes = 1000),
         "head -c 5000 /dev/zero >/tmp/large; stat -c %s /tmp/large; rm /tmp/large");
  CHECK_TEXT(r->out, "1000\n");
}

static void wall_limit_ends_a_sleeper(void) {
  double start = now_us();
  struct result *r = RUN(&shared, WITH(.wall_ms = 200), "sleep", "30");
  double ms = (now_us() - start) / 1000;
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.signal, SIGKILL);
  CHECK_INT(r->exited.leftover, 0);
  CHECK_RANGE(ms, 200, 2000);
  CHECK_RANGE(r->exited.wall_us, 200000, 2000000);
}

static void cpu_limit_counts_all_processes(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){0});
  struct result *r =
      SH(&shared, WITH(.kit = kit, .cpu_ms = 300), "(while :; do :; done) & while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  CHECK_RANGE(r->exited.cpu_us, 300000, 600000);
  CHECK(remove_kit(kit));
}

static void cpu_limit_without_cgroup_is_the_rlimit(void) {
  struct result *r = SH(&shared, WITH(.cpu_ms = 1, .wall_ms = 60000), "while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_INT(r->exited.signal, SIGXCPU);
  /* 2 s as the kernel counts for the limit: by ticks, which a busy host makes coarse. */
  CHECK_RANGE(r->exited.cpu_us, 1000000, 3000000);
}

#define EAT(mb) "python3 -c \"x=bytearray(" mb "<<20); print('survived')\""

static void memory_limit_ends_the_command(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 48 << 20});
  struct result *r = SH(&shared, WITH(.kit = kit), EAT("200"));
  CHECK_INT(r->exited.cause, OSB_CAUSE_MEMORY_LIMIT);
  CHECK_TEXT(r->out, "");
  CHECK(r->exited.memory_peak_bytes > 40 << 20 && r->exited.memory_peak_bytes <= 48 << 20);
  CHECK(remove_kit(kit));
  /* A child is killed, the shell would go on. */
  kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 48 << 20});
  r = SH(&shared, WITH(.kit = kit), EAT("200") "; sleep 20; echo went on");
  CHECK_INT(r->exited.cause, OSB_CAUSE_MEMORY_LIMIT);
  CHECK_TEXT(r->out, "");
  CHECK(r->exited.wall_us < 5000000);
  CHECK(remove_kit(kit));
  kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 300 << 20});
  r = SH(&shared, WITH(.kit = kit), EAT("100"));
  CHECK_TEXT(r->out, "survived\n");
  EXITED_WITH(r, 0);
  CHECK(r->exited.memory_peak_bytes > 100 << 20);
  CHECK(remove_kit(kit));
}

/* The charge for the arguments comes before the exec: whatever dies of it, it must not be init. */
static void tiny_memory_limit_spares_init(void) {
  size_t bytes = 100000;
  char *large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  for (uint64_t limit = 4096; limit <= 256 << 10; limit *= 2) {
    uint32_t kit = make_kit(&shared, &(struct kit_options){.memory_bytes = limit});
    struct result *r = RUN(&shared, WITH(.kit = kit, .memfd = true), "true", large, large, large);
    CHECK(r->exited.cause == OSB_CAUSE_MEMORY_LIMIT || r->exited.cause == OSB_CAUSE_EXEC_FAILED ||
          r->exited.cause == OSB_CAUSE_SIGNALED);
    CHECK(remove_kit(kit));
  }
  free(large);
  PRINTS(&shared, "echo alive", "alive\n");
}

static void session_memory_spares_init(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox,
                &(struct sandbox_options){.disk_bytes = 256 << 20, .session_memory_bytes = 24 << 20});
  size_t bytes = 64 << 20;
  char *content = calloc(1, bytes);
  CHECK_INT(write_inside(&sandbox, "/large", content, bytes, OSB_FILE_MEMFD), ENOMEM);
  free(content);
  /* A failed write leaves nothing of it, and its memory is free again. */
  PRINTS(&sandbox, "ls -A / | grep -E 'osb|large'; echo alive", "alive\n");
  /* A command that fills the memory with files dies of it, init does not. */
  struct result *r = SH(&sandbox, NULL, "exec head -c 64M /dev/zero >/large2");
  CHECK_INT(r->exited.cause, OSB_CAUSE_SIGNALED);
  CHECK_INT(r->exited.signal, SIGKILL);
  CHECK_INT(write_inside(&sandbox, "/large2", "", 0, 0), 0);
  PRINTS(&sandbox, "echo alive", "alive\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void unified_cgroups_count_and_kill(void) {
  uint32_t kit = make_kit_v2(&shared);
  if (!kit) {
    printf("  skipped, no unified hierarchy\n");
    return;
  }
  struct result *r =
      SH(&shared, WITH(.kit = kit), "setsid sh -c 'setsid sleep 100 & sleep 100 &'; sleep 0.1; echo done");
  CHECK_TEXT(r->out, "done\n");
  EXITED_WITH(r, 0);
  CHECK(remove_kit_v2());
  kit = make_kit_v2(&shared);
  r = SH(&shared, WITH(.kit = kit, .cpu_ms = 200), "(while :; do :; done) & while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_RANGE(r->exited.cpu_us, 200000, 500000);
  CHECK(remove_kit_v2());
}

static void fork_bomb_ends(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){.processes = 100});
  struct result *r = RUN(&shared, WITH(.kit = kit, .wall_ms = 500), "python3", "-c",
                         "import os,sys\nwhile 1:\n try: os.fork() and 0\n except OSError: pass");
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  CHECK(remove_kit(kit));
  PRINTS(&shared, "pgrep -c python3 || true", "0\n");
}

static void fork_bomb_without_a_cgroup_ends(void) {
  struct rlimit before, few = {400, 400};
  struct sandbox sandbox;
  getrlimit(RLIMIT_NPROC, &before);
  few.rlim_max = before.rlim_max;
  setrlimit(RLIMIT_NPROC, &few); /* or the machine would suffer; binds the ids of a sandbox */
  start_sandbox(&sandbox, NULL);
  struct result *r = RUN(&sandbox, WITH(.wall_ms = 500), "python3", "-c",
                         "import os\nwhile 1:\n try: os.fork()\n except OSError: pass");
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  setrlimit(RLIMIT_NPROC, &before);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void huge_limits_are_none(void) {
  uint32_t kit = have_cgroups() ? make_kit(&shared, &(struct kit_options){0}) : 0;
  struct result *r = SH(&shared,
                        WITH(.kit = kit, .cpu_ms = UINT64_MAX, .wall_ms = UINT64_MAX, .nofile = UINT32_MAX,
                             .fsize_bytes = UINT64_MAX),
                        "sleep 0.15; echo done");
  CHECK_TEXT(r->out, "done\n");
  EXITED_WITH(r, 0);
  CHECK(kit == 0 || remove_kit(kit));
}

static const struct test tests[] = {
    TEST(rlimits_are_set),
    TEST(wall_limit_ends_a_sleeper),
    CGROUP_TEST(cpu_limit_counts_all_processes),
    TEST(cpu_limit_without_cgroup_is_the_rlimit),
    CGROUP_TEST(memory_limit_ends_the_command),
    CGROUP_TEST(tiny_memory_limit_spares_init),
    CGROUP_TEST(session_memory_spares_init),
    TEST(unified_cgroups_count_and_kill),
    CGROUP_TEST(fork_bomb_ends),
    TEST(fork_bomb_without_a_cgroup_ends),
    TEST(huge_limits_are_none),
};
const struct suite limits_suite = SUITE(tests);
