/* Init, PID 1 of a sandbox: what its files offer each other. See ../README.md for the theory of operation. */
#ifndef OSB_INIT_H
#define OSB_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "../protocol.h"

#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL

/* ---- main.c ---- */
int64_t now_ns(void); /* CLOCK_MONOTONIC */
__attribute__((noreturn)) void end_init(enum osb_init_exit status);

/* ---- packet.c: the socket to the engine ---- */
struct packet {
  struct osb_header header;
  const uint8_t *body; /* aligned to 8; valid until the next receive */
  size_t body_bytes;
  int fds[OSB_MAX_FDS]; /* CLOEXEC, above 2; -1 once taken */
  uint32_t nfds;
};
/* False: nothing there. Ends init on end of file and on packets that do not add up. */
bool receive_packet(struct packet *packet);
/* Takes descriptor `index` out of the packet. */
int take_fd(struct packet *packet, uint32_t index);
void close_packet(struct packet *packet);
/* Sends or queues; `fd` (or -1) is closed once sent. Ends init if the queue is full, which its bound rules
 * out. */
void send_packet(uint32_t type, uint64_t id, const void *body, size_t bytes, int fd);
bool answers_queued(void);
void send_queued(void);

/* Walks the variable part of a packet, and says whether it was exactly right. */
struct reader {
  const uint8_t *at, *end;
};
/* The body of `bytes`, then the reader over what follows it; ends init if the packet is shorter. */
const void *read_body(const struct packet *packet, size_t bytes, struct reader *rest);
/* A NUL-terminated string, NULL if there is none. */
const char *read_string(struct reader *reader);

/* ---- rootfs.c, setup.c: the inside, made once ---- */
int build_root(const struct osb_setup *setup, struct reader *binds);
int enter_root(void);
int populate_root(const struct osb_setup *setup, struct reader *links_and_files);
int set_up(const struct osb_setup *setup, struct reader rest);
/* Notes errno and what was tried for SETUP_FAILED; returns -1. */
__attribute__((format(printf, 1, 2))) int setup_error(const char *format, ...);
extern struct osb_setup_failed setup_failure;

/* ---- privilege.c ---- */
int drop_privileges(void);

/* ---- kit.c: cgroup files that came from the engine ---- */
struct kit {
  uint32_t id;
  uint32_t kind;        /* enum osb_cgroup_kind */
  int fds[OSB_KIT_FDS]; /* -1: not there */
};
#define NO_KIT ((struct kit){.fds = {-1, -1, -1, -1, -1, -1, -1, -1, -1}})
void keep_kit(struct packet *packet);
/* Moves the kit `id` to the caller; false if there is none. */
bool take_kit(uint32_t id, struct kit *kit);
void close_kit(struct kit *kit);
int enter_kit(const struct kit *kit);
bool kit_cpu_ns(const struct kit *kit, uint64_t *cpu_ns);
uint64_t kit_memory_peak(const struct kit *kit); /* bytes, 0 = not counted */
uint64_t kit_oom_kills(const struct kit *kit);
/* Sends SIGKILL to all in the kit, after forbidding new ones; returns how many are left, counted before. */
int kill_kit(const struct kit *kit);

/* ---- job-*.c: commands under way ---- */
void start_job(struct packet *packet);
void kill_job(struct packet *packet);
void reap_children(void);
void tick_jobs(int64_t now);
/* When tick_jobs has something to do next; INT64_MAX = never. */
int64_t next_tick(void);
int init_jobs(void);
void init_job_clock(void);

/* ---- exec.c: from the request to the running program ---- */
struct command {
  const struct osb_exec *exec;
  char **argv, **envp; /* envp without PATH or HOME is completed; NULL-terminated */
  const char *cwd;
  int stdio[3];
  const char *strings; /* mapping of a memfd, or NULL */
};
/* 0, or an errno of stage REQUEST. What it allocates is freed by free_command. */
int parse_command(struct packet *packet, const struct osb_exec *exec, struct reader strings,
                  struct command *command);
void free_command(struct command *command);
/* Where a child failed; in memory that init shares with its children. */
struct exec_failure {
  uint32_t stage; /* enum osb_stage */
  int32_t error;
};
__attribute__((noreturn)) void run_command(const struct command *command, const struct kit *kit,
                                           struct exec_failure *failure);

/* ---- descendants.c: without a cgroup ---- */
/* SIGKILLs the processes that can be told to descend from `main_pid`; returns how many were found alive.
 * `alone`: no other job is under way, so that every process is of this one. */
int kill_descendants(pid_t main_pid, bool alone);

/* ---- file-*.c ---- */
void write_file(struct packet *packet);
void open_file(struct packet *packet);
int init_files(void);
/* True if the child was a copy under way (which is answered now). */
bool reap_copy(pid_t pid, int status);
uint32_t copies_under_way(void);
void tick_copies(int64_t now);
int64_t next_copy_tick(void);

#endif
