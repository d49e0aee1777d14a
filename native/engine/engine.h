/*
 * The engine: starts sandboxes and runs commands in them, without Node. One engine a process.
 * It owns two threads: `io` (epoll: sockets of the inits, pipes of the commands, pidfds) and `builder` (slow kernel
 * work: clone, cgroup directories, teardown, large files). Calls return at once, from any thread; their callback comes
 * exactly once, on whatever thread (the caller's own too, before the call returns), with no lock held: it should only
 * pass on what it got. `error` is NULL on success and valid until the callback returns.
 */
#ifndef OSB_ENGINE_H
#define OSB_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OSB_ERROR_TEXT 256

/* Why a call failed: errno (never 0 then) and what was tried, e.g. "mkdir /sys/fs/cgroup/pids/osb-w1/s1". */
struct osb_error {
  int code;
  char text[OSB_ERROR_TEXT];
};

struct osb_engine;

struct osb_bind { const char *source, *target; };
struct osb_link { const char *target, *path; };
struct osb_file { const char *path, *content; };

enum osb_cgroup_choice { OSB_CGROUP_CHOOSE = 0, OSB_CGROUP_USE_NONE, OSB_CGROUP_USE_V1, OSB_CGROUP_USE_V2 };

struct osb_engine_config {
  const char *name;        /* names this engine's cgroups: opensandbox-<name>; one token */
  void (*on_lost)(void *context, uint64_t sandbox, const char *reason); /* an init ended by itself; called once */
  void *context;
  enum osb_cgroup_choice cgroup; /* for tests; 0 = the best that the host has */
};

struct osb_sandbox_config {
  const char *hostname;
  uint64_t disk_bytes, disk_inodes, shm_bytes;
  uint64_t session_memory_bytes; /* whole session; 0 = no limit beyond its commands' */
  uint32_t session_processes;    /* whole session; 0 = none */
  bool host_network;
  const struct osb_bind *binds; size_t nbinds;
  const struct osb_link *links; size_t nlinks;
  const struct osb_file *files; size_t nfiles;
};

struct osb_exec_config {
  const char *const *argv; size_t argc;
  const char *const *env; size_t envc;
  const char *cwd;
  const uint8_t *stdin_data; size_t stdin_bytes; /* copied */
  uint64_t cpu_ms, wall_ms, memory_bytes, fsize_bytes;
  uint32_t nofile, processes;
  uint64_t output_bytes;   /* kept of each stream */
};

/* Valid until the callback returns, except the buffers, which the callee takes over and frees with free(). */
struct osb_outcome {
  uint32_t cause;          /* enum osb_cause */
  uint32_t stage;          /* enum osb_stage */
  int error;
  int exit_code, signal;   /* -1 and 0 if none */
  uint32_t leftover;
  uint64_t cpu_us, wall_us, memory_peak_bytes;
  uint8_t *out; size_t out_bytes; bool out_truncated;
  uint8_t *err; size_t err_bytes; bool err_truncated;
  const char *text;        /* "" or, where the sandbox ended under the run, why */
};

struct osb_entry {
  char *name;              /* without '/', any other bytes */
  bool is_directory;       /* false for a symbolic link to one */
  uint64_t size;
};

typedef void osb_done(void *context, const struct osb_error *error);
typedef void osb_created(void *context, const struct osb_error *error, uint64_t sandbox);
typedef void osb_ran(void *context, const struct osb_error *error, struct osb_outcome *outcome);
/* The callee takes `bytes` over and frees it with free(). */
typedef void osb_was_read(void *context, const struct osb_error *error, uint8_t *bytes, size_t count);
/* Valid until the callback returns. */
typedef void osb_listed(void *context, const struct osb_error *error, const struct osb_entry *entries, size_t count);

/* Sweeps what a dead process left under the same name; EBUSY if a living one has it. NULL with `error` filled. */
struct osb_engine *osb_engine_open(const struct osb_engine_config *config, struct osb_error *error);
/* Destroys every sandbox, removes the engine's cgroups. `error`: what could not be removed. Nothing but
 * osb_engine_free may be called with the engine once the callback has begun; calls made before it fail with ESHUTDOWN.
 * A second close fails with EALREADY. */
void osb_engine_close(struct osb_engine *engine, osb_done *done, void *context);
/* Waits for the threads to end, after osb_engine_close's callback. */
void osb_engine_free(struct osb_engine *engine);

/* Fails with what SETUP failed with, ETIMEDOUT, EAGAIN (too many sandboxes), or the kernel's refusal. */
void osb_sandbox_create(struct osb_engine *engine, const struct osb_sandbox_config *config, osb_created *done,
                        void *context);
/* Runs under way end first, with OSB_CAUSE_SESSION_ENDED. Succeeds for a sandbox that has already ended; ESRCH for a
 * handle never given out; another error names what of the sandbox could not be removed. */
void osb_sandbox_destroy(struct osb_engine *engine, uint64_t sandbox, osb_done *done, void *context);

/* Fails (rather than ends) with ESRCH if the sandbox is not there, E2BIG, EAGAIN (too much under way), or what the
 * kernel refused while pipes or cgroups were made. Returns the handle of the run, 0 if it has failed already. */
uint64_t osb_exec(struct osb_engine *engine, uint64_t sandbox, const struct osb_exec_config *config, osb_ran *done,
                  void *context);
/* `cause`: OSB_CAUSE_CANCELLED or OSB_CAUSE_SESSION_ENDED. A run that is no longer there is left alone. */
void osb_kill(struct osb_engine *engine, uint64_t sandbox, uint64_t run, uint32_t cause);

/* Fail with ESRCH if the sandbox is not there, EPIPE if it ended meanwhile, else with init's errno. */
void osb_file_write(struct osb_engine *engine, uint64_t sandbox, const char *path, const uint8_t *content,
                    size_t count, osb_done *done, void *context);
/* EFBIG beyond max_bytes. */
void osb_file_read(struct osb_engine *engine, uint64_t sandbox, const char *path, uint64_t max_bytes,
                   osb_was_read *done, void *context);
/* EOVERFLOW beyond max_entries; order as the kernel gives it, without . and .. */
void osb_directory_list(struct osb_engine *engine, uint64_t sandbox, const char *path, uint32_t max_entries,
                        osb_listed *done, void *context);
void osb_directory_check(struct osb_engine *engine, uint64_t sandbox, const char *path, osb_done *done,
                         void *context);

#define OSB_MAX_PROBLEMS 16
/* How each limit is enforced here: "cgroup2", "cgroup1", "rlimit", "timer", "engine", "tmpfs" or "none". */
struct osb_host_report {
  const char *cgroup; /* "none", "cgroup1", "cgroup2" */
  const char *cpu, *wall, *memory, *pids, *fsize, *nofile, *output, *disk;
  size_t nproblems;
  char problems[OSB_MAX_PROBLEMS][OSB_ERROR_TEXT]; /* each with its remedy */
};
void osb_host_inspect(struct osb_host_report *report);

#endif
