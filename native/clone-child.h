/* The raw child: what runs between the clone and init's image, in the caller's memory. For spawn.c alone. */
#ifndef OSB_CLONE_CHILD_H
#define OSB_CLONE_CHILD_H

#include <linux/sched.h>

/* Shared between parent and child, which also share memory: plain stores, ordered by the status pipe. */
struct handoff {
  int socket, go, status, image;
  const char *volatile step; /* of the child, where it failed */
  volatile int error;        /* errno, 0 = none */
};

/* clone3 whose child waits for `go`, becomes user 0 of its id map and executes `image`, on the stack of
 * `args`; `handoff` stays until it has. The pid, or a negative errno. The caller has all signals blocked. */
long clone_child(struct clone_args *args, struct handoff *handoff);

#endif
