#define _GNU_SOURCE
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOST_WAIT_MS 10000

int checks_failed;
char lost_reason[OSB_ERROR_TEXT];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int lost_count;

/* ---- Checks ---- */

void check_int(const char *file, int line, const char *what, long long actual, long long expected) {
  if (actual == expected) return;
  printf("  %s:%d: %s is %lld, expected %lld\n", file, line, what, actual, expected);
  checks_failed++;
}

void check_text(const char *file, int line, const char *what, const char *actual, const char *expected) {
  if (actual && strcmp(actual, expected) == 0) return;
  printf("  %s:%d: %s is \"%.500s\", expected \"%s\"\n", file, line, what, actual ? actual : "(null)", expected);
  checks_failed++;
}

void check_starts(const char *file, int line, const char *what, const char *actual, const char *expected) {
  if (actual && strncmp(actual, expected, strlen(expected)) == 0) return;
  printf("  %s:%d: %s is \"%.500s\", expected \"%s...\"\n", file, line, what, actual ? actual : "(null)", expected);
  checks_failed++;
}

int run_tests(const struct test *tests, int count, int argc, char **argv) {
  int passed = 0, failed = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < count; i++) {
    if (argc > 1 && !strstr(tests[i].name, argv[1])) continue;
    checks_failed = 0;
    double start = now_ms();
    tests[i].run();
    printf("%s %s (%.0f ms)\n", checks_failed ? "not ok" : "ok", tests[i].name, now_ms() - start);
    if (checks_failed) failed++;
    else passed++;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}

void sleep_ms(int ms) {
  struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&pause, NULL);
}

double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- Results ---- */

struct result *result_new(void) { return calloc(1, sizeof(struct result)); }

static void arrived(struct result *result, const struct osb_error *error) {
  pthread_mutex_lock(&lock);
  if (error) result->error = *error;
  result->calls++;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

void result_wait(struct result *result) {
  pthread_mutex_lock(&lock);
  while (result->calls == 0) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

void result_free(struct result *result) {
  free(result->outcome.out);
  free(result->outcome.err);
  free(result->bytes);
  for (size_t i = 0; result->names && i < result->count; i++) free(result->names[i]);
  free(result->names);
  free(result->is_directory);
  free(result->sizes);
  free(result);
}

static void on_done(void *context, const struct osb_error *error) { arrived(context, error); }

static void on_created(void *context, const struct osb_error *error, uint64_t sandbox) {
  ((struct result *)context)->sandbox = sandbox;
  arrived(context, error);
}

static uint8_t *terminated(uint8_t *bytes, size_t count) {
  bytes = realloc(bytes, count + 1);
  bytes[count] = 0;
  return bytes;
}

static void on_ran(void *context, const struct osb_error *error, struct osb_outcome *outcome) {
  struct result *result = context;
  if (outcome) {
    result->outcome = *outcome;
    result->outcome.out = terminated(outcome->out, outcome->out_bytes);
    result->outcome.err = terminated(outcome->err, outcome->err_bytes);
    snprintf(result->text, sizeof result->text, "%s", outcome->text);
  }
  arrived(result, error);
}

static void on_read(void *context, const struct osb_error *error, uint8_t *bytes, size_t count) {
  struct result *result = context;
  if (!error) result->bytes = terminated(bytes, count);
  result->count = count;
  arrived(result, error);
}

static void on_listed(void *context, const struct osb_error *error, const struct osb_entry *entries, size_t count) {
  struct result *result = context;
  result->count = count;
  result->names = calloc(count + 1, sizeof *result->names);
  result->is_directory = calloc(count + 1, sizeof *result->is_directory);
  result->sizes = calloc(count + 1, sizeof *result->sizes);
  for (size_t i = 0; i < count; i++) {
    result->names[i] = strdup(entries[i].name);
    result->is_directory[i] = entries[i].is_directory;
    result->sizes[i] = entries[i].size;
  }
  arrived(result, error);
}

/* ---- Engines ---- */

static void on_lost(void *context, uint64_t sandbox, const char *reason) {
  (void)context;
  (void)sandbox;
  pthread_mutex_lock(&lock);
  lost_count++;
  snprintf(lost_reason, sizeof lost_reason, "%s", reason);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

int wait_lost(int count) {
  double until = now_ms() + LOST_WAIT_MS;
  for (;;) {
    pthread_mutex_lock(&lock);
    int have = lost_count;
    pthread_mutex_unlock(&lock);
    if (have >= count || now_ms() > until) return have;
    sleep_ms(2);
  }
}

void forget_lost(void) {
  pthread_mutex_lock(&lock);
  lost_count = 0;
  lost_reason[0] = 0;
  pthread_mutex_unlock(&lock);
}

static int engine_number;

int engines_opened(void) { return engine_number; }

struct osb_engine *engine_open(enum osb_cgroup_choice cgroup) {
  char name[64];
  snprintf(name, sizeof name, "test-engine-%d-%d", getpid(), ++engine_number);
  struct osb_engine_config config = {.name = name, .on_lost = on_lost, .cgroup = cgroup};
  struct osb_error error;
  struct osb_engine *engine = osb_engine_open(&config, &error);
  if (engine) return engine;
  printf("  cannot go on: %s (%d)\n0 passed, 1 failed\n", error.text, error.code);
  exit(1);
}

void engine_close(struct osb_engine *engine) {
  struct result *result = result_new();
  osb_engine_close(engine, on_done, result);
  result_wait(result);
  CHECK_TEXT(result->error.text, "");
  osb_engine_free(engine);
  result_free(result);
}

/* ---- Sandboxes ---- */

void default_sandbox(struct osb_sandbox_config *config) {
  static const struct osb_bind binds[] = {{"/usr", "/usr"}, {"/etc/ld.so.cache", "/etc/ld.so.cache"}};
  static const struct osb_link links[] = {{"usr/bin", "/bin"}, {"usr/lib", "/lib"}, {"usr/lib64", "/lib64"}};
  *config = (struct osb_sandbox_config){
      .hostname = "box",
      .disk_bytes = 64 << 20,
      .disk_inodes = 10000,
      .shm_bytes = 16 << 20,
      .binds = binds,
      .nbinds = 2,
      .links = links,
      .nlinks = 3,
  };
}

struct result *sandbox_try(struct osb_engine *engine, const struct osb_sandbox_config *config) {
  struct result *result = result_new();
  osb_sandbox_create(engine, config, on_created, result);
  result_wait(result);
  return result;
}

uint64_t sandbox_create(struct osb_engine *engine) {
  struct osb_sandbox_config config;
  default_sandbox(&config);
  struct result *result = sandbox_try(engine, &config);
  if (result->error.code) {
    printf("  cannot go on: %s (%d)\n0 passed, 1 failed\n", result->error.text, result->error.code);
    exit(1);
  }
  uint64_t sandbox = result->sandbox;
  result_free(result);
  return sandbox;
}

struct osb_error sandbox_destroy(struct osb_engine *engine, uint64_t sandbox) {
  struct result *result = result_new();
  osb_sandbox_destroy(engine, sandbox, on_done, result);
  result_wait(result);
  struct osb_error error = result->error;
  result_free(result);
  return error;
}

/* ---- Runs ---- */

struct osb_exec_config exec_shell(const char *script, const char *words[MAX_WORDS]) {
  static const char *const env[] = {"PATH=/usr/bin"};
  words[0] = "/bin/sh";
  words[1] = "-c";
  words[2] = script;
  return (struct osb_exec_config){
      .argv = words,
      .argc = 3,
      .env = env,
      .envc = 1,
      .cwd = "/",
      .cpu_ms = 60000,
      .wall_ms = 60000,
      .memory_bytes = 512 << 20,
      .fsize_bytes = 64 << 20,
      .nofile = 64,
      .processes = 64,
      .output_bytes = 8 << 20,
  };
}

uint64_t exec_start(struct osb_engine *engine, uint64_t sandbox, const struct osb_exec_config *config,
                    struct result *result) {
  return osb_exec(engine, sandbox, config, on_ran, result);
}

struct result *exec_wait(struct osb_engine *engine, uint64_t sandbox, const struct osb_exec_config *config) {
  struct result *result = result_new();
  exec_start(engine, sandbox, config, result);
  result_wait(result);
  return result;
}

struct result *shell(struct osb_engine *engine, uint64_t sandbox, const char *script) {
  const char *words[MAX_WORDS];
  struct osb_exec_config config = exec_shell(script, words);
  return exec_wait(engine, sandbox, &config);
}

/* ---- Files ---- */

struct result *file_write(struct osb_engine *engine, uint64_t sandbox, const char *path, const void *bytes,
                          size_t count) {
  struct result *result = result_new();
  osb_file_write(engine, sandbox, path, bytes, count, on_done, result);
  result_wait(result);
  return result;
}

struct result *file_read(struct osb_engine *engine, uint64_t sandbox, const char *path, uint64_t max_bytes) {
  struct result *result = result_new();
  osb_file_read(engine, sandbox, path, max_bytes, on_read, result);
  result_wait(result);
  return result;
}

struct result *directory_list(struct osb_engine *engine, uint64_t sandbox, const char *path, uint32_t max_entries) {
  struct result *result = result_new();
  osb_directory_list(engine, sandbox, path, max_entries, on_listed, result);
  result_wait(result);
  return result;
}

struct result *directory_check(struct osb_engine *engine, uint64_t sandbox, const char *path) {
  struct result *result = result_new();
  osb_directory_check(engine, sandbox, path, on_done, result);
  result_wait(result);
  return result;
}

/* ---- What is there ---- */

static int count_entries(const char *path) {
  DIR *dir = opendir(path);
  int count = 0;
  while (dir && readdir(dir)) count++;
  if (dir) closedir(dir);
  return count;
}

int count_descriptors(void) { return count_entries("/proc/self/fd"); }
int count_threads(void) { return count_entries("/proc/self/task") - 2; }

/* Children with an exit signal of 0 are only in this list of the kernel's, and only waitid(__WALL) sees them. */
int count_children(void) {
  int count = 0, pid;
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *task; tasks && (task = readdir(tasks));) {
    char path[300];
    snprintf(path, sizeof path, "/proc/self/task/%s/children", task->d_name);
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%d", &pid) == 1) count++;
    if (file) fclose(file);
  }
  if (tasks) closedir(tasks);
  return count;
}

static int cgroups_found;
static char cgroup_prefix[64];

static int visit(const char *path, const struct stat *stat, int type, struct FTW *walk) {
  (void)stat;
  (void)walk;
  if (type == FTW_D && strstr(path, cgroup_prefix)) cgroups_found++;
  return 0;
}

int count_cgroups(void) {
  cgroups_found = 0;
  snprintf(cgroup_prefix, sizeof cgroup_prefix, "/opensandbox-test-engine-%d-", getpid());
  nftw("/sys/fs/cgroup", visit, 32, FTW_PHYS);
  return cgroups_found;
}
