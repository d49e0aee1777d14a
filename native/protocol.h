/*
 * The protocol between the engine (in the worker's process, outside) and init (PID 1 of a sandbox, inside).
 *
 * One AF_UNIX SOCK_SEQPACKET socket per sandbox; a message is one packet: struct osb_header, then the body of its
 * type, then variable parts in the order in which the body counts them. Host byte order: both ends are one binary.
 * Many requests may be under way; `id` pairs an answer with its request and is chosen by the engine.
 * Every length is checked by the receiver against the packet's size before use; a packet that does not add up is
 * answered with nothing: init exits (enum osb_init_exit), the engine kills init. Descriptors travel as SCM_RIGHTS in
 * a fixed order.
 *
 *   engine -> init        descriptors                     answer
 *   SETUP                 cgroup-independent, once        READY | SETUP_FAILED
 *   KIT                   cgroup files (enum osb_kit_fd)  none
 *   EXEC                  stdin, stdout, stderr,          EXITED
 *                         [memfd with the strings]
 *   KILL                  -                               none (EXITED of that EXEC follows)
 *   FILE_WRITE            [memfd with the content]        FILE_DONE
 *   FILE_OPEN             -                               FILE_DONE + descriptor
 *
 * End of file on the socket means that the other side is gone: init then kills everything and exits.
 */
#ifndef OSB_PROTOCOL_H
#define OSB_PROTOCOL_H

#include <stdint.h>

#define OSB_PROTOCOL_VERSION 1u
/* One packet. Below the default net.core.wmem_max (212,992), so that no privilege is needed to raise it. */
#define OSB_MAX_PACKET 131072u
/* Strings or file content up to this travel in the packet, larger ones in a sealed memfd. */
#define OSB_MAX_INLINE 98304u
#define OSB_MAX_FDS 16u
/* Commands under way in one sandbox; the session's own bound is lower. */
#define OSB_MAX_JOBS 256u
/* Kits that wait for a command. */
#define OSB_MAX_KITS 256u

/* All strings of one EXEC: what execve takes at most (3/4 of the kernel's _STK_LIM), more is E2BIG. */
#define OSB_MAX_STRINGS 6291456u
/* Host ids of one sandbox: its 0 to 65535. */
#define OSB_ID_RANGE 65536u

/* Exit status of init where it ends by itself. */
enum osb_init_exit {
  OSB_INIT_EOF = 0,     /* the engine closed the socket */
  OSB_INIT_SETUP = 64,  /* SETUP_FAILED was sent */
  OSB_INIT_PACKET = 65, /* a packet did not add up */
  OSB_INIT_SYSTEM = 66, /* the kernel refused what init cannot do without */
};

enum osb_type {
  OSB_SETUP = 1,
  OSB_KIT = 2,
  OSB_EXEC = 3,
  OSB_KILL = 4,
  OSB_FILE_WRITE = 5,
  OSB_FILE_OPEN = 6,
  OSB_READY = 64,
  OSB_SETUP_FAILED = 65,
  OSB_EXITED = 66,
  OSB_FILE_DONE = 67,
};

struct osb_header {
  uint32_t version;
  uint32_t type;  /* enum osb_type */
  uint64_t id;    /* of the request */
  uint32_t size;  /* of the whole packet */
  uint32_t nfds;  /* that come with it */
};

/* Where a string of a packet is: in the variable part, NUL-terminated there, `length` without the NUL. */

/* ---- SETUP: what the inside looks like. Variable part: hostname NUL, then `nbinds` entries of
 *      {source NUL, target NUL}, then `nlinks` of {target NUL, path NUL}, then `nfiles` of {path NUL, content NUL}.
 *      Binds are read-only, recursive, nosuid, nodev; a source that does not exist is an error of the engine. */
struct osb_setup {
  uint64_t disk_bytes;   /* size of the tmpfs root */
  uint64_t disk_inodes;
  uint64_t shm_bytes;    /* size of /dev/shm */
  uint32_t nbinds;
  uint32_t nlinks;
  uint32_t nfiles;
  uint32_t flags;        /* enum osb_setup_flag */
};
enum osb_setup_flag {
  OSB_SETUP_LOOPBACK = 1, /* own network namespace: bring lo up */
};

/* ---- READY: no body. SETUP_FAILED: */
struct osb_setup_failed {
  int32_t error;      /* errno */
  char what[124];     /* "mount /proc", NUL-terminated */
};

/* ---- KIT: the cgroup of one command to come, made ahead so that a run pays only for entering it.
 *      A kit is used by one EXEC and closed with it. */
enum osb_cgroup_kind { OSB_CGROUP_NONE = 0, OSB_CGROUP_V1 = 1, OSB_CGROUP_V2 = 2 };
struct osb_kit {
  uint32_t kit;       /* chosen by the engine */
  uint32_t kind;      /* enum osb_cgroup_kind */
  uint32_t present;   /* bit i: the descriptor of enum osb_kit_fd i is in this packet, in rising order */
};
enum osb_kit_fd {
  OSB_KIT_ENTER_0 = 0,   /* write "0" here before exec to enter: v1 `tasks` (takes no global lock for one's own */
  OSB_KIT_ENTER_1 = 1,   /* thread) of memory, pids, cpuacct; v2 `cgroup.procs` in ENTER_0 only */
  OSB_KIT_ENTER_2 = 2,
  OSB_KIT_CPU = 3,       /* v1 cpuacct.usage (ns), v2 cpu.stat (usage_usec) */
  OSB_KIT_MEM_PEAK = 4,  /* v1 memory.max_usage_in_bytes, v2 memory.peak */
  OSB_KIT_MEM_EVENTS = 5,/* v1 memory.oom_control, v2 memory.events: key oom_kill */
  OSB_KIT_PIDS_MAX = 6,  /* write "0": no new process, so that one pass of kills is complete */
  OSB_KIT_PROCS = 7,     /* cgroup.procs, read: who is left, as pids of init's namespace */
  OSB_KIT_KILL = 8,      /* v2 cgroup.kill: write "1" */
  OSB_KIT_FDS = 9,
};

/* ---- EXEC. Pipes for stdio should belong to the sandbox's first id (fchown): a command that opens /dev/stdout opens
 *      the pipe anew and needs the permission for it, and a pipe of the host's root is nobody's inside.
 *      Strings: argv[0..argc) NUL each, env NAME=value NUL each, cwd NUL. In the packet, or, with
 *      OSB_EXEC_MEMFD, in the fourth descriptor (sealed against shrinking and writing). */
struct osb_exec {
  uint32_t kit;            /* kit to enter; 0 = none */
  uint32_t flags;          /* enum osb_exec_flag */
  uint32_t argc;
  uint32_t envc;
  uint32_t strings_bytes;
  uint32_t nofile;         /* RLIMIT_NOFILE; above init's own hard limit: that */
  uint64_t fsize_bytes;    /* RLIMIT_FSIZE */
  uint64_t cpu_ms;         /* CPU time of the kit's cgroup; RLIMIT_CPU behind it; 0 = none */
  uint64_t wall_ms;        /* 0 = none */
};
enum osb_exec_flag { OSB_EXEC_MEMFD = 1 };

/* ---- KILL: ends the job of EXEC `id` and all its descendants. */
struct osb_kill {
  uint64_t exec_id;
  uint32_t cause; /* enum osb_cause reported in its EXITED */
};

enum osb_cause {
  OSB_CAUSE_EXITED = 1,
  OSB_CAUSE_SIGNALED,
  OSB_CAUSE_CPU_LIMIT,
  OSB_CAUSE_WALL_LIMIT,
  OSB_CAUSE_MEMORY_LIMIT,
  OSB_CAUSE_OUTPUT_LIMIT,
  OSB_CAUSE_EXEC_FAILED,
  OSB_CAUSE_CANCELLED,
  OSB_CAUSE_SESSION_ENDED,
};

/* Where an EXEC failed before the program ran. */
enum osb_stage {
  OSB_STAGE_NONE = 0,
  OSB_STAGE_REQUEST,  /* bad strings, no such kit, too many jobs */
  OSB_STAGE_FORK,
  OSB_STAGE_CGROUP,
  OSB_STAGE_LIMITS,
  OSB_STAGE_STDIO,
  OSB_STAGE_CWD,
  OSB_STAGE_EXEC,
};

/* ---- EXITED: the command and every descendant in its cgroup are gone (or unkillable: `leftover`). */
struct osb_exited {
  uint32_t cause;          /* enum osb_cause */
  uint32_t stage;          /* enum osb_stage; NONE if the program ran */
  int32_t error;           /* errno of that stage */
  int32_t exit_code;       /* -1 if none */
  int32_t signal;          /* 0 if none */
  uint32_t leftover;       /* processes that survived SIGKILL for OSB_KILL_GRACE_MS */
  uint64_t cpu_us;
  uint64_t wall_us;
  uint64_t memory_peak_bytes; /* 0 if not counted */
};
#define OSB_KILL_GRACE_MS 2000

/* ---- FILE_WRITE: creates or replaces a regular file; init copies, so that its pages are charged to the session.
 *      Variable part: path NUL, then the content (`content_bytes`), or, with OSB_FILE_MEMFD, in the descriptor. */
struct osb_file_write {
  uint64_t content_bytes;
  uint32_t mode;
  uint32_t flags;      /* enum osb_file_flag */
  uint32_t path_bytes; /* without the NUL */
};
enum osb_file_flag {
  OSB_FILE_MEMFD = 1,
  OSB_FILE_PARENTS = 2,   /* make parent directories, 0755 */
  OSB_FILE_DIRECTORY = 4, /* FILE_OPEN: must be a directory (else: must be a regular file) */
};

/* ---- FILE_OPEN: opens for reading. Never follows magic links, never blocks on a FIFO or a device.
 *      Variable part: path NUL. */
struct osb_file_open {
  uint32_t flags;
  uint32_t path_bytes;
};

/* ---- FILE_DONE. error 0: done (FILE_OPEN: the descriptor comes with it). */
struct osb_file_done {
  int32_t error;       /* errno: ENOENT, ENOTDIR, EISDIR, EINVAL (not a regular file), ENOSPC, EACCES, EROFS ... */
};

#endif
