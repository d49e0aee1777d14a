/* The inside of a sandbox, as one flat list of steps. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

struct osb_setup_failed setup_failure;

int setup_error(const char *format, ...) {
  setup_failure.error = errno;
  va_list args;
  va_start(args, format);
  vsnprintf(setup_failure.what, sizeof setup_failure.what, format, args);
  va_end(args);
  return -1;
}

static int loopback_up(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return setup_error("socket for the loopback interface");
  struct ifreq request = {.ifr_flags = IFF_UP};
  strcpy(request.ifr_name, "lo");
  int result = ioctl(fd, SIOCSIFFLAGS, &request);
  if (result < 0) setup_error("loopback up");
  close(fd);
  return result;
}

/* The place-holders of 0 to 2 become the real thing. */
static int open_null(void) {
  int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (fd < 0) return setup_error("open /dev/null");
  for (int number = 0; number < 3; number++)
    if (dup3(fd, number, O_CLOEXEC) < 0) return setup_error("dup /dev/null");
  close(fd);
  return 0;
}

int set_up(const struct osb_setup *setup, struct reader rest) {
  const char *hostname = read_string(&rest);
  if (!hostname) end_init(OSB_INIT_PACKET);
  umask(0);
  /* The engine has placed us: what is seen from here on is the root of /proc/self/cgroup. */
  if (unshare(CLONE_NEWCGROUP) < 0) return setup_error("new cgroup namespace");
  if (sethostname(hostname, strlen(hostname)) < 0) return setup_error("set hostname %s", hostname);
  if (build_root(setup, &rest) < 0) return -1;
  if (enter_root() < 0) return -1;
  if (populate_root(setup, &rest) < 0) return -1;
  if (rest.at != rest.end) end_init(OSB_INIT_PACKET);
  if (open_null() < 0) return -1;
  if ((setup->flags & OSB_SETUP_LOOPBACK) && loopback_up() < 0) return -1;
  if (drop_privileges() < 0) return -1;
  /* The system call filter goes here, last: installed once, inherited by every command. */
  return 0;
}
