/* What a command may do with its root, and what must be refused. */
#define _GNU_SOURCE

#include "tests.h"

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

static const struct test tests[] = {
    TEST(init_is_out_of_reach),
    TEST(privileges_are_refused),
    TEST(ordinary_root_work_is_allowed),
};
const struct suite privileges_suite = SUITE(tests);
