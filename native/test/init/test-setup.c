/* The inside, as SETUP makes it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests.h"

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

static void setup_failure_says_what(void) {
  struct sandbox sandbox;
  struct osb_setup_failed failed = {0};
  CHECK_INT(try_sandbox(&sandbox, &(struct sandbox_options){.bad_bind = "/no/such/place"}, &failed),
            OSB_SETUP_FAILED);
  CHECK_INT(failed.error, ENOENT);
  CHECK_TEXT(failed.what, "bind /no/such/place");
  CHECK_INT(wait_for_init(&sandbox, 5000), OSB_INIT_SETUP);
}

static const struct test tests[] = {
    TEST(inside_is_as_set_up),
    TEST(inside_has_only_loopback),
    TEST(host_network_is_shared_on_request),
    TEST(binds_are_read_only),
    TEST(devices_work),
    TEST(setup_failure_says_what),
};
const struct suite setup_suite = SUITE(tests);
