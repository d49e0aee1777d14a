/* Tests of init and osb_spawn on the real kernel, as root. Every expectation is an exact value. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define EXITED_WITH(result, code)                        \
  do {                                                   \
    CHECK_INT((result)->exited.cause, OSB_CAUSE_EXITED); \
    CHECK_INT((result)->exited.stage, OSB_STAGE_NONE);   \
    CHECK_INT((result)->exited.exit_code, code);         \
    CHECK_INT((result)->exited.signal, 0);               \
    CHECK_INT((result)->exited.leftover, 0);             \
  } while (0)
#define PRINTS(sandbox, script, expected)               \
  do {                                                  \
    struct result *printed = SH(sandbox, NULL, script); \
    CHECK_TEXT(printed->out, expected);                 \
    CHECK_TEXT(printed->err, "");                       \
    EXITED_WITH(printed, 0);                            \
  } while (0)
#define EXEC_FAILS(where, code, ...)                        \
  do {                                                      \
    struct result *failed = __VA_ARGS__;                    \
    CHECK_INT(failed->exited.cause, OSB_CAUSE_EXEC_FAILED); \
    CHECK_INT(failed->exited.stage, where);                 \
    CHECK_INT(failed->exited.error, code);                  \
    CHECK_INT(failed->exited.exit_code, -1);                \
    CHECK_TEXT(failed->out, "");                            \
    CHECK_TEXT(failed->err, "");                            \
  } while (0)

static struct sandbox shared; /* of the tests that leave it as it was */

/* ---- The inside ---- */

static void inside_is_as_set_up(void) {
  PRINTS(&shared, "hostname", "test-host\n");
  PRINTS(&shared, "id -u; id -g; id -G", "0\n0\n0\n");
  PRINTS(&shared, "cat /etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  PRINTS(&shared, "cat /linked-etc/deep/down/file", "generated\n");
  PRINTS(&shared, "stat -c '%a %U' / /root /tmp /var/tmp /home /run /dev/shm /etc/deep",
         "755 root\n700 root\n1777 root\n1777 root\n755 root\n755 root\n1777 root\n755 root\n");
  PRINTS(&shared, "ls -A /",
         "bin\ndev\netc\nhome\nlib\nlib64\nlinked-etc\nproc\nroot\nrun\nsbin\ntmp\nusr\nvar\n");
  PRINTS(&shared, "ls -A /dev",
         "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n");
  PRINTS(&shared, "readlink /proc/self/ns/pid | grep -c pid; cat /proc/self/cgroup | cut -d: -f3 | sort -u",
         "1\n/\n");
  PRINTS(&shared, "stat -f -c '%T %S %b' / | cut -d' ' -f1; stat -f -c %c /", "tmpfs\n20000\n");
  PRINTS(&shared, "umask; ulimit -c; cat /proc/self/oom_score_adj", "0022\n0\n1000\n");
}

static void inside_has_only_loopback(void) {
  PRINTS(&shared, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo\n");
  PRINTS(&shared,
         "python3 -c \"import socket as s; l=s.create_server(('127.0.0.1',80)); "
         "c=s.create_connection(('127.0.0.1',80));"
         "print(l.accept()[1]==c.getsockname())\"",
         "True\n");
}

static void host_network_is_shared_on_request(void) {
  struct sandbox sandbox;
  char here[64] = "";
  ssize_t n = readlink("/proc/self/ns/net", here, sizeof here - 2);
  if (n < 0) give_up("read our network namespace");
  here[n] = '\n';
  start_sandbox(&sandbox, &(struct sandbox_options){.host_network = true});
  PRINTS(&sandbox, "readlink /proc/self/ns/net", here);
  PRINTS(&sandbox,
         "python3 -c \"import socket as s; s.socket(s.AF_INET, s.SOCK_RAW, 1)\" 2>&1 | "
         "tail -1",
         "PermissionError: [Errno 1] Operation not permitted\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void binds_are_read_only(void) {
  PRINTS(&shared, "touch /usr/x 2>&1; echo x 2>&1 >/etc/ld.so.cache; touch /usr/lib/x 2>&1; true",
         "touch: cannot touch '/usr/x': Read-only file system\n"
         "/bin/sh: 1: cannot create /etc/ld.so.cache: Read-only file system\n"
         "touch: cannot touch '/usr/lib/x': Read-only file system\n");
}

static void devices_work(void) {
  PRINTS(&shared, "echo x >/dev/null; head -c4 /dev/zero | od -An -tx1; head -c3 /dev/urandom | wc -c",
         " 00 00 00 00\n3\n");
  PRINTS(&shared, "echo x 2>&1 >/dev/full; true", "/bin/sh: 1: echo: echo: I/O error\n");
  PRINTS(&shared, "echo x | cat /dev/stdin; echo y >/dev/stdout", "x\ny\n");
  PRINTS(&shared, "python3 -c 'import os,pty; m,s=pty.openpty(); print(os.ttyname(s))'", "/dev/pts/0\n");
  PRINTS(&shared, "mknod /tmp/n c 1 3 2>&1; true", "mknod: /tmp/n: Operation not permitted\n");
}

/* ---- What must be refused ---- */

static void init_is_out_of_reach(void) {
  PRINTS(&shared, "kill -9 1; kill -STOP 1; kill -TERM 1; kill -INT 1; echo sent", "sent\n");
  PRINTS(&shared, "ls /proc/1 2>&1; cat /proc/1/mem 2>&1; true",
         "ls: cannot access '/proc/1': No such file or directory\ncat: /proc/1/mem: No such file or "
         "directory\n");
  PRINTS(
      &shared,
      "python3 -c \"import ctypes,os; c=ctypes.CDLL(None,use_errno=True)\n"
      "for r in (0x4206, 16): print(c.ptrace(r,1,0,0), os.strerror(ctypes.get_errno()))\n"
      "b=ctypes.create_string_buffer(64)\n"
      "class V(ctypes.Structure): _fields_=[('b',ctypes.c_void_p),('n',ctypes.c_size_t)]\n"
      "v=V(ctypes.addressof(b),64)\n"
      "print(c.process_vm_readv(1,ctypes.byref(v),1,ctypes.byref(v),1,0), os.strerror(ctypes.get_errno()))\n"
      "p=os.pidfd_open(1)\n"
      "print(c.syscall(438,p,3,0), os.strerror(ctypes.get_errno()))\"",
      "-1 Operation not permitted\n-1 Operation not permitted\n-1 Operation not permitted\n"
      "-1 Operation not permitted\n");
}

static void privileges_are_refused(void) {
  PRINTS(&shared, "grep -E '^(Cap|NoNew)' /proc/self/status | tr '\\t' ' '",
         "CapInh: 0000000000000000\nCapPrm: 00000000000004fb\nCapEff: 00000000000004fb\nCapBnd: "
         "00000000000004fb\n"
         "CapAmb: 0000000000000000\nNoNewPrivs: 1\n");
  PRINTS(&shared, "mount -t tmpfs x /tmp 2>&1 | head -1; umount /usr 2>&1 | head -1",
         "mount: /tmp: permission denied.\numount: /usr: must be superuser to unmount.\n");
  PRINTS(
      &shared, "unshare -U true 2>&1; unshare -m true 2>&1; unshare -n true 2>&1; true",
      "unshare: unshare failed: No space left on device\nunshare: unshare failed: Operation not permitted\n"
      "unshare: unshare failed: Operation not permitted\n");
  PRINTS(&shared, "echo 100 2>&1 >/proc/sys/user/max_user_namespaces; hostname x 2>&1; true",
         "/bin/sh: 1: cannot create /proc/sys/user/max_user_namespaces: Read-only file system\n"
         "hostname: you must be root to change the host name\n");
  PRINTS(&shared, "(echo -1 >/proc/self/oom_score_adj) 2>&1; chroot / true 2>&1; true",
         "/bin/sh: 1: echo: echo: I/O error\nchroot: cannot change root directory to '/': Operation not "
         "permitted\n");
  PRINTS(&shared, "cat /proc/keys /proc/timer_list /proc/sysrq-trigger /proc/kcore 2>/dev/null | wc -c",
         "0\n");
}

static void ordinary_root_work_is_allowed(void) {
  PRINTS(&shared,
         "touch /tmp/o && chown 1000:1000 /tmp/o && chmod 600 /tmp/o && stat -c %u:%g /tmp/o && cat /tmp/o",
         "1000:1000\n");
  PRINTS(&shared,
         "setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'id -u; kill -0 1 2>&1'; rm -f /tmp/o",
         "1000\nsh: 1: kill: Operation not permitted\n\n");
  PRINTS(&shared,
         "mkdir -p /work && cd /work && git init -q . && git rev-parse --is-inside-work-tree; rm -rf /work",
         "true\n");
  PRINTS(
      &shared,
      "python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1, -2, 3]))'; "
      "python3 -c 'import threading as t; x=t.Thread(target=print,args=(\"thread\",)); x.start(); x.join()'",
      "[1, 2, 3]\nthread\n");
  PRINTS(&shared,
         "echo 'int main(void){return 0;}' >/tmp/a.c && cc -o /tmp/a /tmp/a.c && /tmp/a && echo built; rm -f "
         "/tmp/a*",
         "built\n");
}

/* ---- Commands ---- */

static void command_gets_what_it_is_given(void) {
  struct result *r = RUN(&shared, WITH(.input = "from stdin"), "cat");
  CHECK_TEXT(r->out, "from stdin");
  EXITED_WITH(r, 0);
  r = SH(&shared, WITH(.cwd = "/var/tmp"), "pwd; echo to stderr >&2; exit 7");
  CHECK_TEXT(r->out, "/var/tmp\n");
  CHECK_TEXT(r->err, "to stderr\n");
  EXITED_WITH(r, 7);
  r = RUN(&shared, NULL, "printf", "%s|", "", "a b", "*", "\xff\xfe");
  CHECK_TEXT(r->out, "|a b|*|\xff\xfe|");
  r = RUN(&shared, NULL, "env");
  CHECK_TEXT(r->out, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\n");
  const char *env[] = {"HOME=/tmp", "A=b=c", "PATH=/nowhere:/usr/bin", "EMPTY=", NULL};
  r = RUN(&shared, WITH(.env = env), "env");
  CHECK_TEXT(r->out, "HOME=/tmp\nA=b=c\nPATH=/nowhere:/usr/bin\nEMPTY=\n");
}

static void command_sees_three_descriptors(void) {
  PRINTS(&shared, "ls /proc/$$/fd", "0\n1\n2\n");
  uint32_t kit = have_cgroups() ? make_kit(&shared, &(struct kit_options){0}) : 0;
  struct result *r = SH(&shared, WITH(.kit = kit), "ls /proc/$$/fd");
  CHECK_TEXT(r->out, "0\n1\n2\n");
  CHECK(kit == 0 || remove_kit(kit));
}

static void signals_are_default_and_reported(void) {
  PRINTS(&shared, "cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)' | tr '\\t' ' '",
         "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\nSigCgt: 0000000000000000\n");
  for (size_t i = 0; i < 3; i++) {
    static const int numbers[] = {SIGTERM, SIGKILL, SIGSEGV};
    char script[32];
    snprintf(script, sizeof script, "kill -%d $$", numbers[i]);
    struct result *r = SH(&shared, NULL, script);
    CHECK_INT(r->exited.cause, OSB_CAUSE_SIGNALED);
    CHECK_INT(r->exited.signal, numbers[i]);
    CHECK_INT(r->exited.exit_code, -1);
  }
}

static void exec_failures_say_where(void) {
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, "no-such-command"));
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, "/no/such/file"));
  EXEC_FAILS(OSB_STAGE_EXEC, ENOENT, RUN(&shared, NULL, ""));
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, NULL, "/etc/passwd"));
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, NULL, "/usr"));
  const char *env[] = {"PATH=/etc", NULL};
  EXEC_FAILS(OSB_STAGE_EXEC, EACCES, RUN(&shared, WITH(.env = env), "passwd"));
  CHECK_INT(write_inside(&shared, "/tmp/no-interpreter", "echo hi\n", 8, 0), 0);
  PRINTS(&shared, "chmod +x /tmp/no-interpreter", "");
  EXEC_FAILS(OSB_STAGE_EXEC, ENOEXEC, RUN(&shared, NULL, "/tmp/no-interpreter"));
  EXEC_FAILS(OSB_STAGE_CWD, ENOENT, RUN(&shared, WITH(.cwd = "/nowhere"), "true"));
  EXEC_FAILS(OSB_STAGE_CWD, ENOTDIR, RUN(&shared, WITH(.cwd = "/etc/passwd"), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, RUN(&shared, WITH(.cwd = "relative"), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, ENOENT, RUN(&shared, WITH(.kit = 999999), "true"));
  const char *nameless[] = {"NOT-A-PAIR", NULL};
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, RUN(&shared, WITH(.env = nameless), "true"));
  EXEC_FAILS(OSB_STAGE_REQUEST, EINVAL, run(&shared, NULL, (const char *const[]){NULL}));
}

static void large_arguments_come_in_a_memfd(void) {
  size_t bytes = 100000;
  char *large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  struct result *r = RUN(&shared, WITH(.memfd = true), "sh", "-c", "echo ${#1}", "sh", large);
  CHECK_TEXT(r->out, "100000\n");
  free(large);
  bytes = 3u << 20;
  large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  EXEC_FAILS(OSB_STAGE_EXEC, E2BIG, RUN(&shared, WITH(.memfd = true), "true", large));
  free(large);
}

static void rlimits_are_set(void) {
  struct result *r = SH(&shared, WITH(.nofile = 33, .fsize_bytes = 4096), "ulimit -n; ulimit -Hn; ulimit -f");
  CHECK_TEXT(r->out, "33\n33\n8\n");
  r = SH(&shared, WITH(.fsize_bytes = 1000),
         "head -c 5000 /dev/zero >/tmp/large; stat -c %s /tmp/large; rm /tmp/large");
  CHECK_TEXT(r->out, "1000\n");
}

/* ---- Limits and ends ---- */

static void wall_limit_ends_a_sleeper(void) {
  double start = now_us();
  struct result *r = RUN(&shared, WITH(.wall_ms = 200), "sleep", "30");
  double ms = (now_us() - start) / 1000;
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.signal, SIGKILL);
  CHECK_INT(r->exited.leftover, 0);
  CHECK_RANGE(ms, 200, 2000);
  CHECK_RANGE(r->exited.wall_us, 200000, 2000000);
}

static void cpu_limit_counts_all_processes(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){0});
  struct result *r =
      SH(&shared, WITH(.kit = kit, .cpu_ms = 300), "(while :; do :; done) & while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  CHECK_RANGE(r->exited.cpu_us, 300000, 600000);
  CHECK(remove_kit(kit));
}

static void cpu_limit_without_cgroup_is_the_rlimit(void) {
  struct result *r = SH(&shared, WITH(.cpu_ms = 1, .wall_ms = 60000), "while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_INT(r->exited.signal, SIGXCPU);
  /* 2 s as the kernel counts for the limit: by ticks, which a busy host makes coarse. */
  CHECK_RANGE(r->exited.cpu_us, 1000000, 3000000);
}

#define EAT(mb) "python3 -c \"x=bytearray(" mb "<<20); print('survived')\""

static void memory_limit_ends_the_command(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 48 << 20});
  struct result *r = SH(&shared, WITH(.kit = kit), EAT("200"));
  CHECK_INT(r->exited.cause, OSB_CAUSE_MEMORY_LIMIT);
  CHECK_TEXT(r->out, "");
  CHECK(r->exited.memory_peak_bytes > 40 << 20 && r->exited.memory_peak_bytes <= 48 << 20);
  CHECK(remove_kit(kit));
  /* A child is killed, the shell would go on. */
  kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 48 << 20});
  r = SH(&shared, WITH(.kit = kit), EAT("200") "; sleep 20; echo went on");
  CHECK_INT(r->exited.cause, OSB_CAUSE_MEMORY_LIMIT);
  CHECK_TEXT(r->out, "");
  CHECK(r->exited.wall_us < 5000000);
  CHECK(remove_kit(kit));
  kit = make_kit(&shared, &(struct kit_options){.memory_bytes = 300 << 20});
  r = SH(&shared, WITH(.kit = kit), EAT("100"));
  CHECK_TEXT(r->out, "survived\n");
  EXITED_WITH(r, 0);
  CHECK(r->exited.memory_peak_bytes > 100 << 20);
  CHECK(remove_kit(kit));
}

/* The charge for the arguments comes before the exec: whatever dies of it, it must not be init. */
static void tiny_memory_limit_spares_init(void) {
  size_t bytes = 100000;
  char *large = malloc(bytes + 1);
  memset(large, 'x', bytes);
  large[bytes] = 0;
  for (uint64_t limit = 4096; limit <= 256 << 10; limit *= 2) {
    uint32_t kit = make_kit(&shared, &(struct kit_options){.memory_bytes = limit});
    struct result *r = RUN(&shared, WITH(.kit = kit, .memfd = true), "true", large, large, large);
    CHECK(r->exited.cause == OSB_CAUSE_MEMORY_LIMIT || r->exited.cause == OSB_CAUSE_EXEC_FAILED ||
          r->exited.cause == OSB_CAUSE_SIGNALED);
    CHECK(remove_kit(kit));
  }
  free(large);
  PRINTS(&shared, "echo alive", "alive\n");
}

static void session_memory_spares_init(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox,
                &(struct sandbox_options){.disk_bytes = 256 << 20, .session_memory_bytes = 24 << 20});
  size_t bytes = 64 << 20;
  char *content = calloc(1, bytes);
  CHECK_INT(write_inside(&sandbox, "/large", content, bytes, OSB_FILE_MEMFD), ENOMEM);
  free(content);
  /* A failed write leaves nothing of it, and its memory is free again. */
  PRINTS(&sandbox, "ls -A / | grep -E 'osb|large'; echo alive", "alive\n");
  /* A command that fills the memory with files dies of it, init does not. */
  struct result *r = SH(&sandbox, NULL, "exec head -c 64M /dev/zero >/large2");
  CHECK_INT(r->exited.cause, OSB_CAUSE_SIGNALED);
  CHECK_INT(r->exited.signal, SIGKILL);
  CHECK_INT(write_inside(&sandbox, "/large2", "", 0, 0), 0);
  PRINTS(&sandbox, "echo alive", "alive\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void descendants_end_with_the_command(void) {
  static const char escapes[] =
      "setsid sh -c 'setsid sleep 100 & sleep 100 &' & setsid sleep 100 & sleep 0.1; echo done";
  for (int with_kit = 0; with_kit < 2; with_kit++) {
    uint32_t kit = with_kit ? make_kit(&shared, &(struct kit_options){0}) : 0;
    struct result *r = SH(&shared, WITH(.kit = kit), escapes);
    CHECK_TEXT(r->out, "done\n");
    EXITED_WITH(r, 0);
    PRINTS(&shared, "pgrep -c sleep || true", "0\n");
    if (kit) CHECK(remove_kit(kit));
  }
}

static void unified_cgroups_count_and_kill(void) {
  uint32_t kit = make_kit_v2(&shared);
  if (!kit) {
    printf("  skipped, no unified hierarchy\n");
    return;
  }
  struct result *r =
      SH(&shared, WITH(.kit = kit), "setsid sh -c 'setsid sleep 100 & sleep 100 &'; sleep 0.1; echo done");
  CHECK_TEXT(r->out, "done\n");
  EXITED_WITH(r, 0);
  CHECK(remove_kit_v2());
  kit = make_kit_v2(&shared);
  r = SH(&shared, WITH(.kit = kit, .cpu_ms = 200), "(while :; do :; done) & while :; do :; done");
  CHECK_INT(r->exited.cause, OSB_CAUSE_CPU_LIMIT);
  CHECK_RANGE(r->exited.cpu_us, 200000, 500000);
  CHECK(remove_kit_v2());
}

static void fork_bomb_ends(void) {
  uint32_t kit = make_kit(&shared, &(struct kit_options){.processes = 100});
  struct result *r = RUN(&shared, WITH(.kit = kit, .wall_ms = 500), "python3", "-c",
                         "import os,sys\nwhile 1:\n try: os.fork() and 0\n except OSError: pass");
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  CHECK(remove_kit(kit));
  PRINTS(&shared, "pgrep -c python3 || true", "0\n");
}

static void fork_bomb_without_a_cgroup_ends(void) {
  struct rlimit before, few = {400, 400};
  struct sandbox sandbox;
  getrlimit(RLIMIT_NPROC, &before);
  few.rlim_max = before.rlim_max;
  setrlimit(RLIMIT_NPROC, &few); /* or the machine would suffer; binds the ids of a sandbox */
  start_sandbox(&sandbox, NULL);
  struct result *r = RUN(&sandbox, WITH(.wall_ms = 500), "python3", "-c",
                         "import os\nwhile 1:\n try: os.fork()\n except OSError: pass");
  CHECK_INT(r->exited.cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(r->exited.leftover, 0);
  setrlimit(RLIMIT_NPROC, &before);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void kill_ends_one_job_only(void) {
  const char *const sleeper[] = {"sleep", "100", NULL};
  const char *const nested[] = {"sh", "-c", "setsid sleep 100 & sleep 100", NULL};
  for (int with_kit = 0; with_kit < 2; with_kit++) {
    uint32_t kits[2] = {0, 0};
    for (int i = 0; with_kit && i < 2; i++) kits[i] = make_kit(&shared, &(struct kit_options){0});
    uint64_t stays = start_run(&shared, WITH(.kit = kits[0]), nested);
    uint64_t goes = start_run(&shared, WITH(.kit = kits[1]), sleeper);
    uint64_t id;
    PRINTS(&shared, "until [ \"$(pgrep -cx sleep)\" = 3 ]; do :; done", "");
    struct osb_kill request = {goes, OSB_CAUSE_CANCELLED};
    send_message(&shared, OSB_KILL, 1, &request, sizeof request, NULL, 0, NULL, 0);
    struct osb_exited exited = wait_exited(&shared, &id);
    CHECK_INT(id, goes);
    CHECK_INT(exited.cause, OSB_CAUSE_CANCELLED);
    CHECK_INT(exited.signal, SIGKILL);
    PRINTS(&shared, "pgrep -c sleep", "2\n");
    request = (struct osb_kill){stays, OSB_CAUSE_SESSION_ENDED};
    send_message(&shared, OSB_KILL, 1, &request, sizeof request, NULL, 0, NULL, 0);
    exited = wait_exited(&shared, &id);
    CHECK_INT(id, stays);
    CHECK_INT(exited.cause, OSB_CAUSE_SESSION_ENDED);
    PRINTS(&shared, "pgrep -c sleep || true", "0\n");
    for (int i = 0; with_kit && i < 2; i++) CHECK(remove_kit(kits[i]));
  }
  struct osb_kill unknown = {123456789, OSB_CAUSE_CANCELLED};
  send_message(&shared, OSB_KILL, 1, &unknown, sizeof unknown, NULL, 0, NULL, 0);
  PRINTS(&shared, "echo alive", "alive\n");
}

/* Whoever stops everything must not stop init with a half-started command. */
static void stopping_everything_stops_nobody_else(void) {
  static const char *const stopper[] = {"python3", "-c",
                                        "import os,signal\nwhile 1:\n for p in range(2,400):\n  try:\n   if "
                                        "p!=os.getpid(): os.kill(p,19)\n  except OSError: pass",
                                        NULL};
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  uint64_t id, hostile = start_run(&sandbox, WITH(.wall_ms = 1500), stopper);
  usleep(200000);
  for (int i = 0; i < 10; i++) start_run(&sandbox, WITH(.wall_ms = 300), (const char *const[]){"true", NULL});
  for (int i = 0; i < 10; i++) {
    struct osb_exited exited = wait_exited(&sandbox, &id);
    CHECK(id != hostile);
    CHECK(exited.cause == OSB_CAUSE_WALL_LIMIT || exited.cause == OSB_CAUSE_EXITED);
  }
  CHECK_INT(wait_exited(&sandbox, &id).cause, OSB_CAUSE_WALL_LIMIT);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void many_jobs_at_once(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  const char *const sleeper[] = {"sleep", "100", NULL};
  uint64_t id;
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++) start_run(&sandbox, WITH(.wall_ms = 3000), sleeper);
  uint64_t last = start_run(&sandbox, NULL, sleeper);
  struct osb_exited exited = wait_exited(&sandbox, &id);
  CHECK_INT(id, last);
  CHECK_INT(exited.stage, OSB_STAGE_REQUEST);
  CHECK_INT(exited.error, EAGAIN);
  for (uint32_t i = 0; i < OSB_MAX_JOBS; i++) {
    exited = wait_exited(&sandbox, &id);
    CHECK_INT(exited.cause, OSB_CAUSE_WALL_LIMIT);
  }
  PRINTS(&sandbox, "pgrep -c sleep || true", "0\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void answers_wait_for_a_slow_reader(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  /* More answers than a socket buffer takes, read only after all requests are in. */
  enum { COUNT = 2000 };
  struct timeval timeout = {0, 200000};
  setsockopt(sandbox.init.socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  struct osb_file_open request = {.path_bytes = 8};
  struct {
    struct osb_header header;
    struct osb_file_open body;
    char path[9];
  } __attribute__((packed)) packet = {
      {OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 0, sizeof packet, 0}, request, "/missing"};
  int sent = 0, received = 0;
  while (sent < COUNT) {
    packet.header.id = (uint64_t)sent;
    if (send(sandbox.init.socket, &packet, sizeof packet, 0) < 0) break;
    sent++;
  }
  CHECK(sent > 200);
  for (; received < sent; received++) {
    struct osb_file_done done;
    uint64_t id;
    int fd;
    CHECK_INT(receive_message(&sandbox, &id, &done, sizeof done, &fd), OSB_FILE_DONE);
    CHECK_INT(id, received);
    CHECK_INT(done.error, ENOENT);
  }
  PRINTS(&sandbox, "echo alive", "alive\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static void end_of_file_kills_all(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  int out[2];
  if (pipe2(out, O_CLOEXEC) < 0) give_up("pipe");
  const char *const nested[] = {"sh", "-c", "trap '' TERM HUP; setsid sleep 100 & sleep 100", NULL};
  for (int i = 0; i < 5; i++) start_run(&sandbox, NULL, nested);
  usleep(50000);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
  close(out[0]);
  close(out[1]);
}

/* ---- Files ---- */

static void files_are_written_and_read(void) {
  CHECK_INT(write_inside(&shared, "/home/a/b/c.txt", "hello", 5, 0), ENOENT);
  CHECK_INT(write_inside(&shared, "/home/a/b/c.txt", "hello", 5, OSB_FILE_PARENTS), 0);
  CHECK_TEXT(read_inside(&shared, "/home/a/b/c.txt"), "hello");
  PRINTS(&shared,
         "stat -c '%a %u %g %s' /home/a /home/a/b /home/a/b/c.txt | cut -d' ' -f1-3; ls -A /home/a/b",
         "755 0 0\n755 0 0\n644 0 0\nc.txt\n");
  CHECK_INT(write_inside(&shared, "/home/a/b/c.txt", "", 0, 0), 0);
  CHECK_TEXT(read_inside(&shared, "/home/a/b/c.txt"), "");
  PRINTS(&shared, "chmod 755 /home/a/b/c.txt; chown 5:6 /home/a/b/c.txt", "");
  CHECK_INT(write_inside(&shared, "/home/a/b/c.txt", "kept", 4, 0), 0);
  PRINTS(&shared, "stat -c '%a %u %g' /home/a/b/c.txt; cat /home/a/b/c.txt", "755 5 6\nkept");
  CHECK_INT(write_inside(&shared, "relative", "x", 1, 0), EINVAL);
  CHECK_INT(write_inside(&shared, "/home/a", "x", 1, 0), EISDIR);
  CHECK_INT(write_inside(&shared, "/", "x", 1, 0), EISDIR);
  CHECK_INT(write_inside(&shared, "/home/a/b/c.txt/d", "x", 1, OSB_FILE_PARENTS), ENOTDIR);
  CHECK_INT(write_inside(&shared, "/usr/x", "x", 1, 0), EROFS);
  CHECK_INT(write_inside(&shared, "/usr/x/y", "x", 1, OSB_FILE_PARENTS), EROFS);
  CHECK_INT(write_inside(&shared, "/etc/ld.so.cache", "x", 1, 0), EROFS);
  size_t bytes = 8 << 20;
  char *large = malloc(bytes);
  memset(large, 'z', bytes);
  CHECK_INT(write_inside(&shared, "/home/large", large, bytes, OSB_FILE_MEMFD), 0);
  PRINTS(&shared, "tr -d z </home/large | wc -c; stat -c %s /home/large; rm -rf /home/*", "0\n8388608\n");
  free(large);
}

static void paths_stay_inside(void) {
  PRINTS(&shared,
         "ln -s /etc/passwd /tmp/abs; ln -s ../../../../../../etc/passwd /tmp/rel; ln -s abs /tmp/two; "
         "ln -s /tmp/loop /tmp/loop; ln -s new-target /tmp/dangling; ln -s /etc /tmp/dir",
         "");
  const char *inside = "root:x:0:0:root:/root:/bin/sh\n";
  CHECK_TEXT(read_inside(&shared, "/tmp/abs"), inside);
  CHECK_TEXT(read_inside(&shared, "/tmp/rel"), inside);
  CHECK_TEXT(read_inside(&shared, "/../../../../etc/passwd"), inside);
  CHECK_TEXT(read_inside(&shared, "/tmp/dir/passwd"), inside);
  int fd;
  CHECK_INT(open_inside(&shared, "/tmp/loop", 0, &fd), ELOOP);
  CHECK_INT(write_inside(&shared, "/tmp/loop", "x", 1, 0), ELOOP);
  CHECK_INT(open_inside(&shared, "/proc/self/root/etc/passwd", 0, &fd), ELOOP);
  CHECK_INT(open_inside(&shared, "/proc/self/environ", 0, &fd), EACCES);
  CHECK_INT(open_inside(&shared, "/proc/1/mem", 0, &fd), EACCES);
  CHECK_INT(open_inside(&shared, "/proc/self/fd/3", 0, &fd), ELOOP);
  CHECK_INT(write_inside(&shared, "/proc/self/oom_score_adj", "5", 1, 0), EACCES);
  CHECK_INT(write_inside(&shared, "/proc/self/fd/3", "5", 1, 0), EACCES);
  /* Through links, to the file behind, which the link keeps pointing to. */
  CHECK_INT(write_inside(&shared, "/tmp/two", "changed", 7, 0), 0);
  CHECK_TEXT(read_inside(&shared, "/etc/passwd"), "changed");
  CHECK_INT(write_inside(&shared, "/tmp/dangling", "made", 4, 0), 0);
  CHECK_TEXT(read_inside(&shared, "/tmp/new-target"), "made");
  PRINTS(&shared, "readlink /tmp/two /tmp/abs /tmp/dangling", "abs\n/etc/passwd\nnew-target\n");
  CHECK_INT(write_inside(&shared, "/tmp/dir/passwd", inside, strlen(inside), 0), 0);
  CHECK_TEXT(read_inside(&shared, "/etc/passwd"), inside);
  PRINTS(&shared, "rm -f /tmp/*", "");
  FILE *host = fopen("/etc/passwd", "r");
  char line[64] = "";
  if (!host || !fgets(line, sizeof line, host)) give_up("read /etc/passwd");
  fclose(host);
  CHECK(strncmp(line, "changed", 7) != 0);
}

static void special_files_are_refused_at_once(void) {
  PRINTS(&shared,
         "mkfifo /tmp/fifo; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('/tmp/sock')\"",
         "");
  int fd;
  static const char *const paths[] = {"/tmp/fifo", "/dev/zero", "/dev/null",
                                      "/dev/ptmx", "/dev/tty",  "/tmp/sock"};
  double start = now_us();
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    int error = open_inside(&shared, paths[i], 0, &fd);
    CHECK_INT(error, i == 3 || i == 4 ? error : EINVAL);
    CHECK(error != 0);
    CHECK_INT(write_inside(&shared, paths[i], "x", 1, 0), EINVAL);
  }
  CHECK(now_us() - start < 1e6);
  CHECK_INT(open_inside(&shared, "/tmp", 0, &fd), EISDIR);
  CHECK_INT(open_inside(&shared, "/etc/passwd", OSB_FILE_DIRECTORY, &fd), ENOTDIR);
  CHECK_INT(open_inside(&shared, "/missing", OSB_FILE_DIRECTORY, &fd), ENOENT);
  CHECK_INT(open_inside(&shared, "/tmp", OSB_FILE_DIRECTORY, &fd), 0);
  if (fd >= 0) close(fd);
  PRINTS(&shared, "rm -f /tmp/*", "");
}

static void full_disk_keeps_the_old_file(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, &(struct sandbox_options){.disk_bytes = 4 << 20});
  size_t bytes = 8 << 20;
  char *large = calloc(1, bytes);
  CHECK_INT(write_inside(&sandbox, "/file", "old", 3, 0), 0);
  CHECK_INT(write_inside(&sandbox, "/file", large, bytes, OSB_FILE_MEMFD), ENOSPC);
  CHECK_INT(write_inside(&sandbox, "/other", large, bytes, OSB_FILE_MEMFD), ENOSPC);
  CHECK_TEXT(read_inside(&sandbox, "/file"), "old");
  PRINTS(&sandbox, "ls -A / | grep -E 'osb|other'; head -c 3M /dev/zero >/big && echo room again",
         "room again\n");
  free(large);
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

/* ---- Protocol ---- */

static int status_after(const void *bytes, size_t count, const int *fds, uint32_t nfds, bool ready) {
  struct sandbox sandbox;
  if (ready)
    start_sandbox(&sandbox, NULL);
  else
    spawn_only(&sandbox, NULL);
  send_raw(&sandbox, bytes, count, fds, nfds);
  return wait_for_init(&sandbox, 5000);
}

static void malformed_packets_end_init(void) {
  struct {
    struct osb_header header;
    union {
      struct osb_exec exec;
      struct osb_file_write write;
      struct osb_file_open open;
      struct osb_kit kit;
      struct osb_setup setup;
      char bytes[256];
    };
  } p = {{OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 1, 0, 0}, {{0}}};
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[20];
  for (int i = 0; i < 20; i++) fds[i] = null;
#define BAD(bytes, nfds) CHECK_INT(status_after(&p, bytes, fds, nfds, true), OSB_INIT_PACKET)
  size_t head = sizeof p.header;
  BAD(3, 0); /* shorter than a header */
  p.header.size = 200;
  BAD(head + 9, 0); /* size is not the packet's */
  p.header = (struct osb_header){99, OSB_FILE_OPEN, 1, (uint32_t)(head + 9), 0};
  BAD(head + 9, 0); /* version */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, 55, 1, (uint32_t)head, 0};
  BAD(head, 0); /* type */
  p.header.type = OSB_SETUP;
  BAD(head, 0); /* a second setup */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 1, (uint32_t)(head + 9), 2};
  p.open.path_bytes = 0;
  BAD(head + 9, 1); /* fewer descriptors than said */
  p.header.nfds = 0;
  BAD(head + 9, 1);  /* more */
  BAD(head + 9, 20); /* more than there is room for */
  p.open.path_bytes = 4000;
  BAD(head + 9, 0); /* path longer than the packet */
  p.header.type = OSB_FILE_WRITE;
  p.header.size = (uint32_t)(head + sizeof p.write + 3);
  p.write = (struct osb_file_write){.content_bytes = 1000000000000ull, .path_bytes = 0};
  BAD(head + sizeof p.write + 3, 0); /* content longer than the packet */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_EXEC, 1, (uint32_t)(head + sizeof p.exec), 2};
  BAD(head + sizeof p.exec, 2); /* stdio is three */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_KIT, 1, (uint32_t)(head + sizeof p.kit), 1};
  p.kit = (struct osb_kit){.kit = 1, .kind = OSB_CGROUP_V1, .present = 0xffffffff};
  BAD(head + sizeof p.kit, 1);
  p.kit.present = 3;
  BAD(head + sizeof p.kit, 1);
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_EXEC, 1, (uint32_t)head, 0};
  CHECK_INT(status_after(&p, head, fds, 0, false), OSB_INIT_PACKET); /* before SETUP */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_SETUP, 1, (uint32_t)(head + sizeof p.setup), 0};
  p.setup =
      (struct osb_setup){.disk_bytes = 1 << 20, .disk_inodes = 100, .shm_bytes = 4096, .nbinds = 4000000000u};
  CHECK_INT(status_after(&p, head + sizeof p.setup, fds, 0, false), OSB_INIT_PACKET); /* no strings */
  p.bytes[sizeof p.setup] = 'h';
  p.header.size = (uint32_t)(head + sizeof p.setup + 2);
  CHECK_INT(status_after(&p, p.header.size, fds, 0, false), OSB_INIT_PACKET); /* no binds */
#undef BAD
  close(null);
}

static void refused_runs_take_their_kits_along(void) {
  for (uint32_t i = 0; i < OSB_MAX_KITS + 10; i++) {
    uint32_t kit = make_kit(&shared, &(struct kit_options){0});
    struct result *r = RUN(&shared, WITH(.kit = kit, .cwd = "relative"), "true");
    CHECK_INT(r->exited.stage, OSB_STAGE_REQUEST);
    CHECK(remove_kit(kit));
  }
}

static void huge_limits_are_none(void) {
  uint32_t kit = have_cgroups() ? make_kit(&shared, &(struct kit_options){0}) : 0;
  struct result *r = SH(&shared,
                        WITH(.kit = kit, .cpu_ms = UINT64_MAX, .wall_ms = UINT64_MAX, .nofile = UINT32_MAX,
                             .fsize_bytes = UINT64_MAX),
                        "sleep 0.15; echo done");
  CHECK_TEXT(r->out, "done\n");
  EXITED_WITH(r, 0);
  CHECK(kit == 0 || remove_kit(kit));
}

static void strings_that_do_not_add_up_are_refused(void) {
  struct {
    struct osb_exec exec;
    char strings[64];
  } p = {.exec = {.argc = 2, .nofile = 64, .fsize_bytes = 1 << 20, .strings_bytes = 8}};
  memcpy(p.strings, "true\0/\0", 8);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[] = {null, null, null, null};
  uint64_t id;
  /* argc one too many, then one too few, then counts beyond all bounds, then a memfd that is not sealed. */
  for (int i = 0; i < 4; i++) {
    p.exec.argc = i == 0 ? 5 : i == 1 ? 1 : i == 2 ? 4000000000u : 1;
    if (i == 1) memcpy(p.strings, "true\0a\0/", 8);
    p.exec.flags = i == 3 ? OSB_EXEC_MEMFD : 0;
    send_message(&shared, OSB_EXEC, 77, &p.exec, sizeof p.exec, p.strings, i == 3 ? 0 : 8, fds,
                 i == 3 ? 4 : 3);
    struct osb_exited exited = wait_exited(&shared, &id);
    CHECK_INT(id, 77);
    CHECK_INT(exited.cause, OSB_CAUSE_EXEC_FAILED);
    CHECK_INT(exited.stage, OSB_STAGE_REQUEST);
    CHECK_INT(exited.error, i == 2 ? E2BIG : EINVAL);
  }
  close(null);
}

static void setup_failure_says_what(void) {
  struct sandbox sandbox;
  struct osb_setup_failed failed = {0};
  CHECK_INT(try_sandbox(&sandbox, &(struct sandbox_options){.bad_bind = "/no/such/place"}, &failed),
            OSB_SETUP_FAILED);
  CHECK_INT(failed.error, ENOENT);
  CHECK_TEXT(failed.what, "bind /no/such/place");
  CHECK_INT(wait_for_init(&sandbox, 5000), OSB_INIT_SETUP);
}

/* ---- osb_spawn ---- */

static int refuse_place(void *context, pid_t pid, struct osb_error *error) {
  *(pid_t *)context = pid;
  error->code = EDQUOT;
  strcpy(error->text, "no place");
  return -1;
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static void spawn_cleans_up_after_itself(void) {
  struct osb_error error = {0};
  struct osb_spawned spawned;
  pid_t pid = 0;
  int before = count_descriptors();
  struct osb_spawn_config config = {
      .image = osb_init_image(&error), .first_id = 1900000000u, .place = refuse_place, .context = &pid};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EDQUOT);
  CHECK_TEXT(error.text, "no place");
  CHECK(pid > 0 && kill(pid, 0) < 0 && errno == ESRCH);
  config =
      (struct osb_spawn_config){.image = open("/dev/null", O_RDONLY | O_CLOEXEC), .first_id = 1900000000u};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EACCES);
  CHECK_TEXT(error.text, "start init: exec init's image");
  close(config.image);
  config = (struct osb_spawn_config){.image = osb_init_image(&error), .first_id = 4294967290u};
  CHECK_INT(osb_spawn(&config, &spawned, &error), -1);
  CHECK_INT(error.code, EINVAL);
  CHECK_INT(count_descriptors(), before);
  CHECK_INT(waitpid(-1, NULL, WNOHANG | __WALL), -1);
  CHECK_INT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
}

static void spawn_leaves_the_process_alone(void) {
  struct sandbox sandbox;
  signal(SIGPIPE, SIG_IGN);               /* as Node does */
  int null = open("/dev/null", O_RDONLY); /* not CLOEXEC: nobody's fault, but nothing that init may get */
  start_sandbox(&sandbox, NULL);
  char path[64], target[64] = "";
  for (int fd = 0; fd < 64; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)sandbox.init.pid, fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) continue;
    target[n] = 0;
    /* /dev/null thrice, the socket, the signalfd: of the sandbox all. */
    CHECK(fd < 3 ? strcmp(target, "/dev/null") == 0 : fd == 3 ? strncmp(target, "socket:", 7) == 0 : fd == 4);
  }
  PRINTS(&sandbox, "grep SigIgn /proc/self/status | tr '\\t' ' '; ls /proc/$$/fd",
         "SigIgn: 0000000000000000\n0\n1\n2\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
  CHECK_INT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
  close(null);
  signal(SIGPIPE, SIG_DFL);
}

/* ---- */

#define TEST(name) {#name, name, false}
#define CGROUP_TEST(name) {#name, name, true}
static const struct {
  const char *name;
  void (*run)(void);
  bool needs_cgroups;
} tests[] = {
    TEST(inside_is_as_set_up),
    TEST(inside_has_only_loopback),
    TEST(host_network_is_shared_on_request),
    TEST(binds_are_read_only),
    TEST(devices_work),
    TEST(init_is_out_of_reach),
    TEST(privileges_are_refused),
    TEST(ordinary_root_work_is_allowed),
    TEST(command_gets_what_it_is_given),
    TEST(command_sees_three_descriptors),
    TEST(signals_are_default_and_reported),
    TEST(exec_failures_say_where),
    TEST(large_arguments_come_in_a_memfd),
    TEST(rlimits_are_set),
    TEST(wall_limit_ends_a_sleeper),
    CGROUP_TEST(cpu_limit_counts_all_processes),
    TEST(cpu_limit_without_cgroup_is_the_rlimit),
    CGROUP_TEST(memory_limit_ends_the_command),
    CGROUP_TEST(tiny_memory_limit_spares_init),
    CGROUP_TEST(session_memory_spares_init),
    CGROUP_TEST(descendants_end_with_the_command),
    TEST(unified_cgroups_count_and_kill),
    CGROUP_TEST(fork_bomb_ends),
    TEST(fork_bomb_without_a_cgroup_ends),
    CGROUP_TEST(kill_ends_one_job_only),
    TEST(stopping_everything_stops_nobody_else),
    TEST(many_jobs_at_once),
    TEST(answers_wait_for_a_slow_reader),
    TEST(end_of_file_kills_all),
    TEST(files_are_written_and_read),
    TEST(paths_stay_inside),
    TEST(special_files_are_refused_at_once),
    TEST(full_disk_keeps_the_old_file),
    TEST(malformed_packets_end_init),
    CGROUP_TEST(refused_runs_take_their_kits_along),
    TEST(huge_limits_are_none),
    TEST(strings_that_do_not_add_up_are_refused),
    TEST(setup_failure_says_what),
    TEST(spawn_cleans_up_after_itself),
    TEST(spawn_leaves_the_process_alone),
};

int main(int argc, char **argv) {
  int passed = 0, failed = 0, skipped = 0;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (geteuid() != 0) {
    printf("skipped: needs root\n0 passed, 0 failed\n");
    return 0;
  }
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    if (argc > 1 && !strstr(tests[i].name, argv[1])) continue;
    if (tests[i].needs_cgroups && !have_cgroups()) {
      printf("- %s: skipped, no writable cgroup v1\n", tests[i].name);
      skipped++;
      continue;
    }
    checks_failed = 0;
    /* spawn_cleans_up_after_itself asks for children: none may be left of the shared sandbox then. */
    start_sandbox(&shared, NULL);
    bool alone = tests[i].run == spawn_cleans_up_after_itself;
    if (alone) CHECK_INT(end_sandbox(&shared), OSB_INIT_EOF);
    double start = now_us();
    tests[i].run();
    double ms = (now_us() - start) / 1000;
    if (!alone) CHECK_INT(end_sandbox(&shared), OSB_INIT_EOF);
    printf("%s %s (%.0f ms)\n", checks_failed ? "✗" : "✓", tests[i].name, ms);
    checks_failed ? failed++ : passed++;
  }
  remove_cgroups();
  printf("%d passed, %d failed", passed, failed);
  if (skipped) printf(", %d skipped", skipped);
  printf("\n");
  return failed > 0;
}
