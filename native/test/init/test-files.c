/* FILE_WRITE and FILE_OPEN, against a hostile tree. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests.h"

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

/* Renames and mounts anywhere on the machine make the kernel doubt its ".." for a moment. */
static void renames_elsewhere_disturb_nobody(void) {
  enum { OPENS = 5000 };
  const char *const renamer[] = {
      "python3", "-c",
      "import os\nos.chdir('/tmp')\nopen('r','w')\nwhile 1: os.rename('r','s'); os.rename('s','r')", NULL};
  PRINTS(&shared, "mkdir -p /home/a/b && echo here >/home/a/f", "");
  uint64_t id, job = start_run(&shared, WITH(.wall_ms = 20000), renamer);
  int failures = 0;
  usleep(100000);
  for (int i = 0; i < OPENS; i++) {
    int fd;
    failures += open_inside(&shared, "/home/a/b/../b/../b/../b/../b/../b/../f", 0, &fd) != 0;
    if (fd >= 0) close(fd);
  }
  struct osb_kill request = {job, OSB_CAUSE_CANCELLED};
  send_message(&shared, OSB_KILL, 1, &request, sizeof request, NULL, 0, NULL, 0);
  CHECK_INT(wait_exited(&shared, &id).cause, OSB_CAUSE_CANCELLED);
  CHECK_INT(failures, 0);
}

static const struct test tests[] = {
    TEST(files_are_written_and_read),
    TEST(paths_stay_inside),
    TEST(special_files_are_refused_at_once),
    TEST(full_disk_keeps_the_old_file),
    TEST(renames_elsewhere_disturb_nobody),
};
const struct suite files_suite = SUITE(tests);
