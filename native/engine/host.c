/* What this host can do, said before anything is started. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "engine.h"
#include "error.h"

/* mount_setattr(2), which makes binds read-only recursively. */
#define KERNEL_MAJOR 5
#define KERNEL_MINOR 12

__attribute__((format(printf, 2, 3))) static void problem(struct osb_host_report *report, const char *format, ...) {
  if (report->nproblems == OSB_MAX_PROBLEMS) return;
  va_list args;
  va_start(args, format);
  vsnprintf(report->problems[report->nproblems++], OSB_ERROR_TEXT, format, args);
  va_end(args);
}

static void check_kernel(struct osb_host_report *report) {
  struct utsname name;
  int major = 0, minor = 0;
  if (uname(&name) < 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2) {
    problem(report, "the kernel's version is not known (uname): Linux %d.%d or later is needed", KERNEL_MAJOR,
            KERNEL_MINOR);
  } else if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR)) {
    problem(report, "Linux %.60s is too old: boot a kernel of version %d.%d or later", name.release, KERNEL_MAJOR,
            KERNEL_MINOR);
  }
}

static void check_user_namespaces(struct osb_host_report *report) {
  struct stat stat_buffer;
  if (stat("/proc/self/ns/user", &stat_buffer) < 0) {
    problem(report, "the kernel has no user namespaces: boot one with CONFIG_USER_NS=y");
    return;
  }
  FILE *file = fopen("/proc/sys/user/max_user_namespaces", "re");
  long most = -1;
  if (file && fscanf(file, "%ld", &most) == 1 && most == 0)
    problem(report, "user namespaces are turned off: sysctl -w user.max_user_namespaces=15000");
  if (file) fclose(file);
}

/* CAP_SYS_ADMIN and the ids to map, not the name of the user, is what counts; both come with the host's root. */
static void check_privilege(struct osb_host_report *report) {
  if (geteuid() != 0) {
    problem(report, "not root: run as root (sandboxes get ids of their own and never run as root of the host)");
    return;
  }
  FILE *file = fopen("/proc/self/status", "re");
  char line[256];
  unsigned long long effective = 0;
  while (file && fgets(line, sizeof line, file)) sscanf(line, "CapEff: %llx", &effective);
  if (file) fclose(file);
  const unsigned long long needed = 1ull << 21 | 1ull << 7 | 1ull << 6; /* SYS_ADMIN, SETUID, SETGID */
  if ((effective & needed) != needed)
    problem(report, "root without CAP_SYS_ADMIN, CAP_SETUID or CAP_SETGID: in a container, run it with --privileged");
  file = fopen("/proc/self/uid_map", "re");
  unsigned long long inside = 0, outside = 0, count = 0, last = 0xFFFFFFFEull;
  bool mapped = false;
  while (file && fscanf(file, "%llu %llu %llu", &inside, &outside, &count) == 3)
    mapped |= inside <= 0x70000000ull && inside + count >= last;
  if (file && !mapped)
    problem(report, "this user namespace has no ids from 1879048192 on: run the worker in the host's user namespace");
  if (file) fclose(file);
}

static void check_seccomp(struct osb_host_report *report) {
  if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL)
    problem(report, "the kernel has no seccomp: boot one with CONFIG_SECCOMP_FILTER=y");
}

static void check_cgroups(struct osb_host_report *report) {
  char why[OSB_ERROR_TEXT] = "", path[512];
  struct osb_error error;
  const struct osb_cgroup_driver *driver = osb_cgroup_detect(why, sizeof why);
  report->cgroup = driver ? driver->report : "none";
  report->memory = report->pids = report->cgroup;
  report->cpu = driver ? driver->report : "rlimit";
  if (!driver) {
    problem(report, "no usable cgroups (%.120s): mount cgroup2 on /sys/fs/cgroup with memory and pids, writable", why);
    return;
  }
  if (driver != &osb_cgroup_v1) return;
  if (osb_cgroup_own("pids", path, sizeof path, &error) < 0) {
    report->pids = "none";
    problem(report, "the pids controller is not mounted: mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids");
  }
  if (osb_cgroup_own("cpuacct", path, sizeof path, &error) < 0) {
    report->cpu = "rlimit";
    problem(report, "the cpuacct controller is not mounted: mount -t cgroup -o cpuacct cgroup /sys/fs/cgroup/cpuacct");
  }
}

void osb_host_inspect(struct osb_host_report *report) {
  *report = (struct osb_host_report){
      .wall = "timer", .fsize = "rlimit", .nofile = "rlimit", .output = "engine", .disk = "tmpfs"};
  check_kernel(report);
  check_privilege(report);
  check_user_namespaces(report);
  check_seccomp(report);
  check_cgroups(report);
}
