/* The engine's calls made to wait for their callbacks, and checks that are counted. */
#ifndef OSB_TEST_CALLS_H
#define OSB_TEST_CALLS_H

#include <stdio.h>

#include "engine/engine.h"
#include "protocol.h"

extern int checks_failed;
void check_int(const char *file, int line, const char *what, long long actual, long long expected);
void check_text(const char *file, int line, const char *what, const char *actual, const char *expected);
void check_starts(const char *file, int line, const char *what, const char *actual, const char *expected);
#define CHECK_INT(actual, expected) check_int(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, actual, expected)
#define CHECK_STARTS(actual, expected) check_starts(__FILE__, __LINE__, #actual, actual, expected)

struct test {
  const char *name;
  void (*run)(void);
};
/* Runs those whose name contains argv[1], prints "N passed, N failed", returns the exit status. */
int run_tests(const struct test *tests, int count, int argc, char **argv);

/* What a callback brought. `error.code` is 0 on success. */
struct result {
  struct osb_error error;
  uint64_t sandbox;
  struct osb_outcome outcome; /* buffers with a NUL behind them; freed by result_free */
  char text[512];             /* outcome.text */
  uint8_t *bytes;
  size_t count;
  char **names; /* of a listing, sorted not */
  bool *is_directory;
  uint64_t *sizes;
  int calls; /* of the callback */
};

struct result *result_new(void);
void result_wait(struct result *result);
void result_free(struct result *result);

struct osb_engine *engine_open(enum osb_cgroup_choice cgroup);
int engines_opened(void); /* the number in the last one's name */
void engine_close(struct osb_engine *engine);
/* Waits up to 10 s for `count` losses in all; the last reason is in lost_reason. */
int wait_lost(int count);
extern char lost_reason[OSB_ERROR_TEXT];
void forget_lost(void);

void default_sandbox(struct osb_sandbox_config *config);
uint64_t sandbox_create(struct osb_engine *engine); /* gives up if it fails */
struct result *sandbox_try(struct osb_engine *engine, const struct osb_sandbox_config *config);
struct osb_error sandbox_destroy(struct osb_engine *engine, uint64_t sandbox);

#define MAX_WORDS 16
/* /bin/sh -c script with generous limits. */
struct osb_exec_config exec_shell(const char *script, const char *words[MAX_WORDS]);
uint64_t exec_start(struct osb_engine *engine, uint64_t sandbox, const struct osb_exec_config *config,
                    struct result *result);
struct result *exec_wait(struct osb_engine *engine, uint64_t sandbox, const struct osb_exec_config *config);
struct result *shell(struct osb_engine *engine, uint64_t sandbox, const char *script);

struct result *file_write(struct osb_engine *engine, uint64_t sandbox, const char *path, const void *bytes, size_t count);
struct result *file_read(struct osb_engine *engine, uint64_t sandbox, const char *path, uint64_t max_bytes);
struct result *directory_list(struct osb_engine *engine, uint64_t sandbox, const char *path, uint32_t max_entries);
struct result *directory_check(struct osb_engine *engine, uint64_t sandbox, const char *path);

/* For "leaves nothing". */
int count_descriptors(void);
int count_threads(void);
int count_children(void);
int count_cgroups(void); /* directories of this program's engines, in all hierarchies */
void sleep_ms(int ms);
double now_ms(void);

#endif
