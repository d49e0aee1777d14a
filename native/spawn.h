/*
 * Starting an init: one clone3 from whatever process the engine lives in, at a cost that does not depend on
 * that process's size. Nothing here knows what the init does; protocol.h is spoken over the socket that comes
 * back.
 */
#ifndef OSB_SPAWN_H
#define OSB_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/engine.h"

struct osb_spawn_config {
  int image;         /* osb_init_image() */
  uint32_t first_id; /* host uid and gid of the inside's 0; OSB_ID_RANGE of them, no other sandbox's */
  bool host_network; /* share the host's network namespace */
  /* Puts the new process into the session's cgroups, before any code of init runs. 0, or negative with
   * `error` filled. May be NULL. */
  int (*place)(void *context, pid_t pid, struct osb_error *error);
  void *context;
};

/* All owned by the caller. Reap by waitid(P_PIDFD, pidfd, ..., WEXITED | __WALL) alone; killing and reaping
 * it ends every process of the sandbox. Its end raises SIGCHLD (exec sets that, whatever the clone asked
 * for), which disturbs nobody who waits for pids of his own. */
struct osb_spawned {
  pid_t pid; /* in the caller's pid namespace; valid until reaped */
  int pidfd;
  int socket; /* SOCK_SEQPACKET, blocking */
};

/* Returns once init's image runs (it waits for SETUP then). Negative with `error` filled, and nothing left
 * behind, on failure. May be called from any thread, from several at once. */
int osb_spawn(const struct osb_spawn_config *config, struct osb_spawned *spawned, struct osb_error *error);

/* The sealed memfd that holds init's program, made on first use and kept for the life of the process; never
 * close it. Negative with `error` filled on failure. */
int osb_init_image(struct osb_error *error);

#endif
