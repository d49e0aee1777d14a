/*
 * The engine's inside.
 *
 * Threads. `io` waits in one epoll for the inits' sockets and pidfds and for the pipes of commands. `builder` takes
 * jobs: whatever may take more than some microseconds. Callers' threads only send requests.
 *
 * Locks. `sandbox.lock` covers a sandbox with its runs, file calls, kits and send queue. `engine.lock` covers the table
 * of sandboxes, the id ranges, the builder's queues and the graveyard; it is a leaf: whoever holds it takes no other,
 * and it may be taken under a sandbox's. Two sandboxes are never locked at once. Callbacks are called with no lock held.
 *
 * Lifetime. A sandbox is counted: one for the table, one for every job or call that uses it. Runs and file calls belong
 * to who unlinks them from the sandbox, which happens once, under its lock. Memory that epoll may still point to is
 * not freed but buried; `io` empties the graveyard between two batches of events, when no pointer to it is left.
 */
#ifndef OSB_ENGINE_INTERNAL_H
#define OSB_ENGINE_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "../protocol.h"
#include "cgroup.h"
#include "engine.h"
#include "error.h"

/* Sandboxes of one engine: their inits' sockets, pidfds and kits stay below common open-file limits. */
#define OSB_MAX_SANDBOXES 4096u
/* Host ids from here on belong to sandboxes; far above what distributions hand out in /etc/subuid. */
#define OSB_FIRST_ID 0x70000000u
#define OSB_ID_SLOTS ((0xFFFF0000u - OSB_FIRST_ID) / OSB_ID_RANGE)
/* From clone to READY. */
#define OSB_CREATE_MS 10000
/* From SIGKILL to the end of an init. The kernel reaps the whole pid namespace in it. */
#define OSB_DEATH_MS 10000
/* Beyond a command's wall limit and the grace for its killed processes: then init itself is taken for dead. */
#define OSB_ANSWER_MS 10000
/* A file call of at most 64 MiB, on a disk under load. */
#define OSB_FILE_MS 60000
/* File calls under way in one sandbox. */
#define OSB_MAX_CALLS 256u
/* How often deadlines are looked at; they are seconds long. */
#define OSB_TICK_MS 1000
/* Kits that an idle sandbox keeps, and one with commands under way: after a burst the next one finds them. */
#define OSB_SPARE_KITS 1u
#define OSB_MOST_SPARE_KITS 16u
/* A command with less memory gets a new kit: what is still charged to a used one would be a part of its share. */
#define OSB_NEW_KIT_BELOW_BYTES (64ull << 20)
/* Files up to this are read by `io` at once. */
#define OSB_SMALL_FILE 65536

struct osb_watch {
  void (*on_event)(struct osb_watch *watch, uint32_t events); /* on io */
  int fd; /* -1 = closed; under the sandbox's lock */
  int epoll; /* that waits for it, if `added` */
  bool added;
};

struct osb_grave {
  struct osb_grave *next;
  void *memory;
};

struct osb_job {
  struct osb_job *next;
  void (*run)(struct osb_job *job); /* on builder, no lock held */
  int64_t due_ms;                   /* for delayed ones */
};

enum osb_urgency { OSB_URGENT, OSB_LATER, OSB_DELAYED, OSB_QUEUES };

struct osb_message {
  struct osb_message *next;
  uint32_t nfds;
  uint32_t borrowed; /* bit i: fds[i] is not closed with the message */
  int fds[OSB_MAX_FDS];
  size_t size;
  uint8_t bytes[]; /* struct osb_header first */
};

struct osb_kit_entry {
  struct osb_kit_entry *next;
  uint32_t number;
  uint32_t tries; /* to remove it */
  struct osb_limits limits;
  bool used;
  uint32_t present; /* which of enum osb_kit_fd: fds[0..nfds) in that order */
  uint32_t nfds;
  int fds[OSB_KIT_FDS];
};

struct osb_stream {
  struct osb_watch watch;
  int writer; /* of an output: kept so that there is no end of file before the end */
  struct osb_run *run;
  uint8_t *bytes;
  size_t count, room;
  uint64_t limit;
  bool truncated;
};

struct osb_run {
  struct osb_run *next;
  struct osb_grave grave;
  struct osb_sandbox *sandbox;
  uint64_t id;
  struct osb_message *exec; /* until sent */
  struct osb_limits limits;
  struct osb_kit_entry *kit;
  bool over; /* unlinked: out and err are the callback's */
  struct osb_stream out, err, in; /* in: bytes[0..room) to write, count written */
  int64_t started_ms, deadline_ms;
  struct osb_outcome outcome;
  struct osb_error error; /* code 0: none */
  osb_ran *done;
  void *context;
};

enum osb_call_kind { OSB_CALL_WRITE, OSB_CALL_READ, OSB_CALL_LIST, OSB_CALL_CHECK };

struct osb_call {
  struct osb_job job;
  struct osb_call *next;
  uint64_t id;
  enum osb_call_kind kind;
  int64_t deadline_ms;
  uint64_t limit; /* bytes of READ, entries of LIST */
  int fd;
  struct osb_error error;
  union {
    osb_done *done;
    osb_was_read *was_read;
    osb_listed *listed;
  };
  void *context;
  char path[];
};

struct osb_waiter {
  struct osb_waiter *next;
  osb_done *done;
  void *context;
};

enum osb_state {
  OSB_CREATING,
  OSB_IS_READY,
  OSB_ENDING, /* killed or dead, teardown to come or under way */
  OSB_GONE,
};

struct osb_sandbox {
  struct osb_engine *engine;
  uint64_t handle;
  int refs; /* engine.lock */
  uint32_t id_slot;
  char path[32]; /* of its cgroup: s<number> */
  bool host_network;
  struct osb_limits session_limits;

  pthread_mutex_t lock;
  enum osb_state state;
  pid_t pid;
  struct osb_watch socket, pidfd;
  struct osb_message *queue, **queue_tail; /* what the socket had no room for */
  uint64_t last_id;
  struct osb_run *runs; /* oldest first */
  uint32_t nruns, nwaiting; /* waiting: for a kit */
  struct osb_call *calls;
  uint32_t ncalls;
  struct osb_kit_entry *spares, *leaving; /* leaving: to be removed */
  uint32_t nspares, nused, last_kit; /* nused: by runs under way */
  struct osb_limits usual; /* of the last run: the next spare's */
  bool making_kits, cleaning, tearing_down;

  struct osb_message *setup;
  osb_created *created; /* NULL once called */
  void *created_context;
  struct osb_error create_error;
  int64_t deadline_ms;  /* of READY, later of the death; 0 = none */
  bool destroyed;       /* by its owner; else it is lost */
  bool ended_by_itself; /* its exit status says why */
  char reason[OSB_ERROR_TEXT];
  struct osb_waiter *waiters;
  uint32_t remove_tries;
  struct osb_error leak;

  struct osb_job create_job, kit_job, clean_job, teardown_job;
  struct osb_grave grave;
};

struct osb_engine {
  void (*on_lost)(void *context, uint64_t sandbox, const char *reason);
  void *context;
  struct osb_cgroups cgroups;
  int epoll, wake, dev_null, image;
  pthread_t io, builder;

  pthread_mutex_t lock;
  pthread_cond_t work; /* CLOCK_MONOTONIC */
  struct osb_job *queues[OSB_QUEUES], **tails[OSB_QUEUES];
  struct osb_grave *graveyard;
  struct osb_sandbox *table[OSB_MAX_SANDBOXES]; /* by handle % OSB_MAX_SANDBOXES */
  uint64_t last_round[OSB_MAX_SANDBOXES];       /* handle / OSB_MAX_SANDBOXES of the last in that place */
  uint32_t next_place, nsandboxes;
  uint64_t id_slots[(OSB_ID_SLOTS + 63) / 64];
  uint32_t next_id_slot;
  struct osb_limits usual; /* of the last run anywhere: the first spare's */
  bool stop_io;
  struct osb_waiter *closing;
};

int64_t osb_now_ms(void);

/* Host uid and gid of the inside's root. */
static inline uint32_t osb_first_id(const struct osb_sandbox *sandbox) {
  return OSB_FIRST_ID + sandbox->id_slot * OSB_ID_RANGE;
}

/* engine.c */
void osb_bury(struct osb_engine *engine, struct osb_grave *grave, void *memory);
int osb_watch_add(struct osb_engine *engine, struct osb_watch *watch, uint32_t events, struct osb_error *error);
void osb_watch_close(struct osb_watch *watch);
struct osb_sandbox *osb_sandbox_find(struct osb_engine *engine, uint64_t handle); /* counted; NULL if none */
void osb_sandbox_hold(struct osb_sandbox *sandbox);
void osb_sandbox_drop(struct osb_sandbox *sandbox);
int osb_table_add(struct osb_engine *engine, struct osb_sandbox *sandbox, struct osb_error *error);
void osb_table_remove(struct osb_sandbox *sandbox);

/* builder.c */
void osb_job_push(struct osb_engine *engine, struct osb_job *job, enum osb_urgency urgency);
void osb_job_push_delayed(struct osb_engine *engine, struct osb_job *job, int64_t delay_ms);
void *osb_builder_main(void *engine);

/* sandbox.c and hear.c; *_locked: under sandbox.lock */
void osb_sandbox_condemn_locked(struct osb_sandbox *sandbox, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void osb_sandbox_on_socket(struct osb_watch *watch, uint32_t events);
void osb_sandbox_on_exit(struct osb_watch *watch, uint32_t events);
void osb_sandbox_tear_down_locked(struct osb_sandbox *sandbox);
void osb_sandbox_check_deadlines(struct osb_sandbox *sandbox, int64_t now_ms);

/* teardown.c */
void osb_teardown(struct osb_job *job);

/* messages.c */
struct osb_message *osb_message_new(uint32_t type, const void *body, size_t body_size, size_t variable_size);
uint8_t *osb_message_variable(struct osb_message *message, size_t body_size);
void osb_message_free(struct osb_message *message);
int osb_memfd(struct osb_error *error);
int osb_memfd_fill(int fd, const void *bytes, size_t count, struct osb_error *error);
int osb_memfd_seal(int fd, struct osb_error *error);
/* Takes the message over. What the kernel has no room for is queued; a broken socket condemns the sandbox. */
void osb_send_locked(struct osb_sandbox *sandbox, struct osb_message *message, uint64_t id);
void osb_send_queued_locked(struct osb_sandbox *sandbox);

/* kits.c */
void osb_kits_want_locked(struct osb_sandbox *sandbox);
/* The best spare for these limits; NULL: none, the run has to wait. */
struct osb_kit_entry *osb_kit_take_locked(struct osb_sandbox *sandbox, const struct osb_limits *limits);
struct osb_message *osb_kit_message(const struct osb_sandbox *sandbox, const struct osb_kit_entry *kit);
/* After its run, without a lock for it takes a while: whether the kernel could make it as new. */
bool osb_kit_reset(struct osb_sandbox *sandbox, struct osb_kit_entry *kit);
/* A `spare` again, or to be removed. */
void osb_kit_return_locked(struct osb_sandbox *sandbox, struct osb_kit_entry *kit, bool spare);
void osb_kit_close(struct osb_kit_entry *kit);
void osb_kits_trim_locked(struct osb_sandbox *sandbox);
void osb_kits_clean_soon_locked(struct osb_sandbox *sandbox);
void osb_kits_make(struct osb_job *job);
void osb_kits_clean(struct osb_job *job);
void osb_kit_path(const struct osb_sandbox *sandbox, const struct osb_kit_entry *kit, char path[OSB_CGROUP_PATH]);

/* streams.c, exec-request.c */
void osb_run_init_streams(struct osb_run *run, uint64_t output_bytes);
int osb_run_open_input(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error);
int osb_run_open_output(struct osb_stream *stream, struct osb_message *exec, struct osb_error *error);
int osb_run_watch_streams(struct osb_run *run); /* on failure run->error is filled */
void osb_run_drain_locked(struct osb_run *run); /* the last of its output */
void osb_run_close_streams_locked(struct osb_run *run);
int osb_run_make_exec(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error);

/* runs.c */
struct osb_answer;
/* Starts waiting runs, oldest first, as far as kits are there, and has more made. Returns those that could not be
 * started, for osb_runs_deliver. */
struct osb_run *osb_runs_start_locked(struct osb_sandbox *sandbox);
/* The oldest waiting run, if any, ended with the error, for osb_runs_deliver. */
struct osb_run *osb_run_fail_waiting_locked(struct osb_sandbox *sandbox, const struct osb_error *error);
const struct osb_limits *osb_run_waiting_limits_locked(const struct osb_sandbox *sandbox); /* NULL: none waits */
void osb_run_unlink_locked(struct osb_run *run);
/* The run that the answer ends, unlinked, for osb_runs_deliver; NULL: no such run. */
struct osb_run *osb_run_exited_locked(struct osb_sandbox *sandbox, const struct osb_answer *answer);
void osb_runs_deliver(struct osb_run *runs);

/* calls.c */
struct osb_call *osb_call_take_locked(struct osb_sandbox *sandbox, uint64_t id);
void osb_call_answered(struct osb_engine *engine, struct osb_call *call, int error, int fd);
void osb_call_fail(struct osb_call *call, int code, const char *why);

#endif
