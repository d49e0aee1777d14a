/* Init's program, embedded at build time (OSB_INIT_PATH) and executed from a sealed memfd: no path that could
 * be replaced, and no writable view of it from inside (CVE-2019-5736). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn.h"

/* Since Linux 6.3: without it vm.memfd_noexec may refuse, before it the kernel refuses the unknown flag. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
/* Since Linux 6.3: the mode's execute bits are sealed too. */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

__asm__(
    ".pushsection .rodata\n"
    ".global osb_init_image_start\n"
    ".global osb_init_image_end\n"
    ".balign 16\n"
    "osb_init_image_start:\n"
    ".incbin \"" OSB_INIT_PATH
    "\"\n"
    "osb_init_image_end:\n"
    ".popsection\n");
extern const char osb_init_image_start[], osb_init_image_end[];

static int write_all(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t n = write(fd, bytes, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    bytes += n;
    count -= (size_t)n;
  }
  return 0;
}

static int seal(int fd) {
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_EXEC | F_SEAL_SEAL) == 0) return 0;
  return fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL);
}

static int make_image(struct osb_error *error) {
  const char *step = "memfd_create";
  int fd = memfd_create("opensandbox-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("opensandbox-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) goto failed;
  step = "write";
  if (write_all(fd, osb_init_image_start, (size_t)(osb_init_image_end - osb_init_image_start)) < 0)
    goto failed;
  step = "chmod";
  if (fchmod(fd, 0755) < 0) goto failed;
  step = "seal";
  if (seal(fd) < 0) goto failed;
  return fd;

failed:
  error->code = errno;
  snprintf(error->text, sizeof error->text, "%s init's image", step);
  if (fd >= 0) close(fd);
  return -1;
}

int osb_init_image(struct osb_error *error) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static int image = -1;
  pthread_mutex_lock(&lock);
  if (image < 0) image = make_image(error);
  int fd = image;
  pthread_mutex_unlock(&lock);
  return fd;
}
