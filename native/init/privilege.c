/* What "root" may do inside. Commands get exactly the bounding set (exec as user 0), and can gain nothing
 * beyond it. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define BIT(capability) (1ULL << (capability))

/* What package managers, build tools and servers expect of root in a container. Of the usual container set it
 * leaves out MKNOD, NET_RAW, AUDIT_WRITE, SETFCAP, SETPCAP and SYS_CHROOT: kernel surface that such work does
 * without. */
static const uint64_t command_capabilities = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) |
                                             BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_SETGID) |
                                             BIT(CAP_SETUID) | BIT(CAP_NET_BIND_SERVICE);
/* Init keeps one more: to see every process through hidepid where no cgroup lists them. It also makes init's
 * capabilities no subset of any command's, which alone forbids them to trace it. */
static const uint64_t init_capabilities = BIT(CAP_SYS_PTRACE);

static int limit_bounding_set(void) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (!(command_capabilities & BIT(capability)) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
      return setup_error("drop capability %d", capability);
  return 0;
}

static int set_capabilities(uint64_t set) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = (uint32_t)set, .permitted = (uint32_t)set},
      {.effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32)},
  };
  if (syscall(SYS_capset, &header, data) < 0) return setup_error("set capabilities");
  return 0;
}

int drop_privileges(void) {
  /* Locked at their defaults, except that nothing can be raised into the ambient set. */
  unsigned long bits = SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                       SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0) return setup_error("lock securebits");
  if (limit_bounding_set() < 0) return -1;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return setup_error("clear ambient set");
  if (set_capabilities(command_capabilities | init_capabilities) < 0) return -1;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return setup_error("no_new_privs");
  return 0;
}
