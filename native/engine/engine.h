/*
 * The engine: starts sandboxes and runs commands in them, without Node. One engine a process.
 * It owns two threads: `io` (epoll: sockets of the inits, pipes of the commands, pidfds) and `builder` (slow kernel
 * work: clone, cgroup directories, teardown). Calls return at once; the callback comes once, on an engine thread.
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

struct osb_engine_config {
  const char *name;        /* names this engine's cgroups: opensandbox-<name>; one token */
  void (*on_lost)(void *context, uint64_t sandbox, const char *reason); /* an init ended by itself */
  void *context;
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
};
#endif
