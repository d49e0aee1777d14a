/* A small engine for the tests of init: starts sandboxes and speaks the protocol, one request at a time or
 * many. */
#ifndef OSB_TEST_HARNESS_H
#define OSB_TEST_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../../protocol.h"
#include "../../spawn.h"

#define CAPTURE_BYTES 65536

/* ---- Checks: a failed one prints where, marks the running test failed, and goes on. ---- */
extern int checks_failed;
#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define CHECK_INT(actual, expected) \
  check_int(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, actual, expected)
#define CHECK_RANGE(actual, low, high) \
  check_range(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(low), (long long)(high))
void check_range(const char *file, int line, const char *what, long long actual, long long low,
                 long long high);
void check_failed(const char *file, int line, const char *what);
void check_int(const char *file, int line, const char *what, long long actual, long long expected);
void check_text(const char *file, int line, const char *what, const char *actual, const char *expected);
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);
double now_us(void);

/* ---- Sandboxes ---- */
struct sandbox {
  struct osb_spawned init;
  uint64_t next_id;
  uint32_t first_id;
};
struct sandbox_options {
  uint64_t disk_bytes, session_memory_bytes; /* 0: 64 MiB, no limit */
  const char *bad_bind;                      /* a further bind, to fail */
  bool host_network;
};
void start_sandbox(struct sandbox *sandbox, const struct sandbox_options *options);
/* As start_sandbox, but gives what init answered: READY or SETUP_FAILED with `failed`. */
uint32_t try_sandbox(struct sandbox *sandbox, const struct sandbox_options *options,
                     struct osb_setup_failed *failed);
void spawn_only(struct sandbox *sandbox, const struct sandbox_options *options);
void send_setup(struct sandbox *sandbox, const struct sandbox_options *options);
/* Closes the socket and waits for init to end; its exit status, or -signal. */
int end_sandbox(struct sandbox *sandbox);
int wait_for_init(struct sandbox *sandbox, int timeout_ms);

/* ---- Packets ---- */
void send_raw(struct sandbox *sandbox, const void *bytes, size_t count, const int *fds, uint32_t nfds);
void send_message(struct sandbox *sandbox, uint32_t type, uint64_t id, const void *body, size_t body_bytes,
                  const void *rest, size_t rest_bytes, const int *fds, uint32_t nfds);
/* Type of the next packet; 0 on end of file. `body` gets at most `size` bytes, `fd` the descriptor (or -1).
 */
uint32_t receive_message(struct sandbox *sandbox, uint64_t *id, void *body, size_t size, int *fd);

/* ---- Commands ---- */
struct run_options {
  const char *cwd;        /* "/" */
  const char *const *env; /* NULL-terminated, or NULL */
  uint64_t cpu_ms, wall_ms, fsize_bytes;
  uint32_t nofile, kit;
  const char *input; /* standard input */
  bool memfd;        /* strings in a memfd */
};
struct result {
  struct osb_exited exited;
  char out[CAPTURE_BYTES], err[CAPTURE_BYTES];
};
/* Runs to the end. `result` belongs to the harness until the next run. */
struct result *run(struct sandbox *sandbox, const struct run_options *options, const char *const *argv);
#define RUN(sandbox, options, ...) run(sandbox, options, (const char *const[]){__VA_ARGS__, NULL})
#define SH(sandbox, options, script) RUN(sandbox, options, "/bin/sh", "-c", script)
/* Options in the call: WITH(.kit = kit, .cpu_ms = 300). In parentheses, for the commas. */
#define WITH(...) (&(struct run_options){__VA_ARGS__})
/* Sends only; stdio is /dev/null. */
uint64_t start_run(struct sandbox *sandbox, const struct run_options *options, const char *const *argv);
struct osb_exited wait_exited(struct sandbox *sandbox, uint64_t *id);

/* ---- Files ---- */
int write_inside(struct sandbox *sandbox, const char *path, const void *content, size_t bytes,
                 uint32_t flags);
/* errno of the answer; *fd is the descriptor, or -1. */
int open_inside(struct sandbox *sandbox, const char *path, uint32_t flags, int *fd);
/* Content as text, or NULL with errno. */
const char *read_inside(struct sandbox *sandbox, const char *path);

/* ---- cgroup v1 kits ---- */
struct kit_options {
  uint64_t memory_bytes; /* 0 = no limit */
  uint32_t processes;
};
bool have_cgroups(void);
/* Makes a cgroup, hands it to init and returns its number. */
uint32_t make_kit(struct sandbox *sandbox, const struct kit_options *options);
/* The same on the unified hierarchy, which has no controller here but can count CPU time and kill; 0 = not
 * mounted. */
uint32_t make_kit_v2(struct sandbox *sandbox);
bool remove_kit_v2(void);
/* rmdir; false if somebody is still in there. */
bool remove_kit(uint32_t kit);
void remove_cgroups(void);

#endif
