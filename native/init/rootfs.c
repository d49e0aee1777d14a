/*
 * The file system of the inside: a tmpfs with read-only binds of the host's program directories, a few
 * devices and its own /proc. It is put together through descriptors (no path of the host is needed as a mount
 * point), mounted over "/" in this mount namespace only, and becomes the root by pivot_root; then the old
 * root is detached, and with it goes every way back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"
#include "mount-api.h"

#define BIND_ATTRIBUTES (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

/* Of the new root, while it is being built. */
static int root = -1;

/* ---- Pieces ---- */

struct option {
  const char *key, *value;
};

/* A new file system, mounted but attached nowhere. */
static int new_mount(const char *type, const struct option *options, size_t count, unsigned attributes) {
  int fs = open_fs(type);
  if (fs < 0) return setup_error("fsopen %s", type);
  int mount = -1;
  for (size_t i = 0; i < count; i++)
    if (configure_fs(fs, options[i].key, options[i].value) < 0) {
      setup_error("%s option %s=%s", type, options[i].key, options[i].value);
      goto done;
    }
  if (create_fs(fs) < 0)
    setup_error("create %s", type);
  else if ((mount = mount_fs(fs, attributes)) < 0)
    setup_error("mount %s", type);
done:
  close(fs);
  return mount;
}

/* Nothing that was bound or made so far can lead out of the new root, symbolic links included. */
static int open_inside(const char *path, int flags, int mode) {
  return open_how(root, path, (uint64_t)(flags | O_CLOEXEC), (uint64_t)mode,
                  RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static int attach(int mount, const char *path) {
  int target = open_inside(path, O_PATH, 0);
  int result = target < 0 ? -1 : attach_mount(mount, target);
  if (result < 0) setup_error("attach %s", path);
  if (target >= 0) close(target);
  close(mount);
  return result;
}

/* Makes the directories above the last component, as 0755. `base` is the new root or, once inside, "/". */
static int make_parents(int base, const char *path) {
  char prefix[PATH_MAX];
  size_t length = strlen(path);
  if (length >= sizeof prefix) {
    errno = ENAMETOOLONG;
    return setup_error("%.64s", path);
  }
  for (size_t i = 1; i < length; i++) {
    if (path[i] != '/') continue;
    memcpy(prefix, path, i);
    prefix[i] = 0;
    const char *relative = prefix + strspn(prefix, "/");
    if (*relative && mkdirat(base, relative, 0755) < 0 && errno != EEXIST)
      return setup_error("mkdir %s", prefix);
  }
  return 0;
}

static const char *relative(const char *path) { return path + strspn(path, "/"); }

/* ---- The steps, in order ---- */

static int mount_root(const struct osb_setup *setup) {
  char size[24], inodes[24];
  snprintf(size, sizeof size, "%llu", (unsigned long long)setup->disk_bytes);
  snprintf(inodes, sizeof inodes, "%llu", (unsigned long long)setup->disk_inodes);
  const struct option options[] = {{"size", size}, {"nr_inodes", inodes}, {"mode", "0755"}};
  root = new_mount("tmpfs", options, 3, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (root < 0) return -1;
  int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int result = host < 0 ? -1 : attach_mount(root, host);
  if (result < 0) setup_error("attach the new root");
  if (host >= 0) close(host);
  return result;
}

static int make_directories(void) {
  static const struct {
    const char *path;
    mode_t mode;
  } directories[] = {
      {"dev", 0755},  {"dev/pts", 0755}, {"dev/shm", 0755}, {"etc", 0755}, {"home", 0755},     {"proc", 0555},
      {"root", 0700}, {"run", 0755},     {"tmp", 01777},    {"var", 0755}, {"var/tmp", 01777},
  };
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
    if (mkdirat(root, directories[i].path, directories[i].mode) < 0)
      return setup_error("mkdir /%s", directories[i].path);
  return 0;
}

static int make_mount_point(const char *path, bool directory) {
  if (make_parents(root, path) < 0) return -1;
  int result =
      directory ? mkdirat(root, relative(path), 0755) : mknodat(root, relative(path), S_IFREG | 0644, 0);
  return result == 0 || errno == EEXIST ? 0 : setup_error("make mount point %s", path);
}

static int bind(const char *source, const char *target) {
  int tree = copy_tree(AT_FDCWD, source, AT_RECURSIVE);
  if (tree < 0) return setup_error("bind %s", source);
  struct stat status;
  /* mount(2)'s remount does not recurse and would leave mounts below it writable; mount_setattr does. */
  if (fstat(tree, &status) < 0 || set_tree_attributes(tree, BIND_ATTRIBUTES, AT_RECURSIVE) < 0) {
    setup_error("make %s read-only", source);
    close(tree);
    return -1;
  }
  if (make_mount_point(target, S_ISDIR(status.st_mode)) < 0) {
    close(tree);
    return -1;
  }
  return attach(tree, target);
}

/* The node is opened first and mounted by that very descriptor: whatever a path may be swapped for in
 * between, it is this device that gets mounted (CVE-2025-31133). */
static int bind_device(const char *name, dev_t device) {
  char path[32];
  snprintf(path, sizeof path, "/dev/%s", name);
  int node = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (node < 0) return setup_error("open %s", path);
  struct stat status;
  int tree = -1;
  if (fstat(node, &status) < 0) {
    setup_error("stat %s", path);
  } else if (!S_ISCHR(status.st_mode) || status.st_rdev != device) {
    errno = ENODEV;
    setup_error("%s is not the device of that name", path);
  } else if ((tree = copy_tree(node, "", AT_EMPTY_PATH)) < 0 ||
             set_tree_attributes(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0) < 0) {
    setup_error("bind %s", path);
    if (tree >= 0) close(tree);
    tree = -1;
  }
  close(node);
  if (tree < 0) return -1;
  if (make_mount_point(path, false) < 0) {
    close(tree);
    return -1;
  }
  return attach(tree, path);
}

static int mount_dev(const struct osb_setup *setup) {
  static const struct {
    const char *name;
    unsigned major, minor;
  } devices[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                 {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
    if (bind_device(devices[i].name, makedev(devices[i].major, devices[i].minor)) < 0) return -1;

  const struct option pts[] = {{"mode", "0620"}, {"ptmxmode", "0666"}, {"gid", "5"}};
  int mount = new_mount("devpts", pts, 3, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (mount < 0 || attach(mount, "/dev/pts") < 0) return -1;

  char size[24];
  snprintf(size, sizeof size, "%llu", (unsigned long long)setup->shm_bytes);
  const struct option shm[] = {{"size", size}, {"mode", "1777"}};
  mount = new_mount("tmpfs", shm, 2, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (mount < 0 || attach(mount, "/dev/shm") < 0) return -1;

  static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},
                                         {"/proc/self/fd", "dev/fd"},
                                         {"/proc/self/fd/0", "dev/stdin"},
                                         {"/proc/self/fd/1", "dev/stdout"},
                                         {"/proc/self/fd/2", "dev/stderr"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlinkat(links[i][0], root, links[i][1]) < 0) return setup_error("link /%s", links[i][1]);
  return 0;
}

/* Covers `name` of /proc by a copy of what `cover` is; what this kernel does not have needs no cover. */
static int cover_proc(int proc, const char *name, int from, const char *cover, unsigned from_flags) {
  int target = openat(proc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (target < 0) return errno == ENOENT ? 0 : setup_error("open /proc/%s", name);
  int tree = copy_tree(from, cover, from_flags);
  int result =
      tree < 0 || set_tree_attributes(tree, MOUNT_ATTR_RDONLY, 0) < 0 ? -1 : attach_mount(tree, target);
  if (result < 0) setup_error("cover /proc/%s", name);
  if (tree >= 0) close(tree);
  close(target);
  return result;
}

/* With no user namespace below this one, a command cannot gain capabilities over anything by making one. That
 * /proc/sys is covered afterwards and CAP_SYS_RESOURCE dropped keeps it so. */
static int forbid_nested_user_namespaces(int proc) {
  int fd = openat(proc, "sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return setup_error("open max_user_namespaces");
  ssize_t n = write(fd, "0", 1);
  if (n < 0) setup_error("write max_user_namespaces");
  close(fd);
  return n == 1 ? 0 : -1;
}

/* Mounted from inside the new pid namespace, so it shows that namespace only. Most of what is covered here is
 * closed to an id-mapped root anyway; the covers hold where that reasoning fails. */
static int mount_proc(void) {
  static const char *const read_only[] = {"sys", "irq", "bus", "fs", "sysrq-trigger"};
  static const char *const hidden_files[] = {"kcore", "keys", "timer_list", "sched_debug", "latency_stats"};
  static const char *const hidden_directories[] = {"acpi", "scsi", "asound"};
  const struct option hide[] = {{"hidepid", "2"}};
  int mount = new_mount("proc", hide, 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (mount < 0 || attach(mount, "/proc") < 0) return -1;
  int proc = open_inside("/proc", O_PATH | O_DIRECTORY, 0);
  if (proc < 0) return setup_error("open /proc");
  int result = forbid_nested_user_namespaces(proc);
  for (size_t i = 0; result == 0 && i < sizeof read_only / sizeof *read_only; i++)
    result = cover_proc(proc, read_only[i], proc, read_only[i], 0);
  for (size_t i = 0; result == 0 && i < sizeof hidden_files / sizeof *hidden_files; i++)
    result = cover_proc(proc, hidden_files[i], root, "dev/null", 0);
  const struct option none[] = {{"size", "4096"}, {"nr_inodes", "1"}, {"mode", "0555"}};
  int empty = result < 0 ? -1 : new_mount("tmpfs", none, 3, MOUNT_ATTR_RDONLY);
  if (empty < 0) result = -1;
  for (size_t i = 0; result == 0 && i < sizeof hidden_directories / sizeof *hidden_directories; i++)
    result = cover_proc(proc, hidden_directories[i], empty, "", AT_EMPTY_PATH);
  if (empty >= 0) close(empty);
  close(proc);
  return result;
}

int build_root(const struct osb_setup *setup, struct reader *binds) {
  /* Nothing that is mounted here may show outside, nor the other way round. */
  if (syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
    return setup_error("make mounts private");
  if (mount_root(setup) < 0 || make_directories() < 0) return -1;
  for (uint32_t i = 0; i < setup->nbinds; i++) {
    const char *source = read_string(binds), *target = source ? read_string(binds) : NULL;
    if (!target) end_init(OSB_INIT_PACKET);
    if (bind(source, target) < 0) return -1;
  }
  if (mount_dev(setup) < 0) return -1;
  return mount_proc();
}

int enter_root(void) {
  if (fchdir(root) < 0) return setup_error("chdir to the new root");
  /* The old root ends up mounted on top of the new one's "/", where "." still finds it. */
  if (syscall(SYS_pivot_root, ".", ".") < 0) return setup_error("pivot_root");
  if (syscall(SYS_umount2, ".", UMOUNT_DETACH) < 0) return setup_error("detach the old root");
  if (chdir("/") < 0) return setup_error("chdir to /");
  close(root);
  root = -1;
  return 0;
}

static int write_generated(const char *path, const char *content) {
  if (make_parents(AT_FDCWD, path) < 0) return -1;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return setup_error("create %s", path);
  size_t length = strlen(content);
  ssize_t n = write(fd, content, length);
  if (n >= 0 && (size_t)n < length) errno = ENOSPC;
  if (n != (ssize_t)length) setup_error("write %s", path);
  close(fd);
  return n == (ssize_t)length ? 0 : -1;
}

int populate_root(const struct osb_setup *setup, struct reader *rest) {
  for (uint32_t i = 0; i < setup->nlinks; i++) {
    const char *target = read_string(rest), *path = target ? read_string(rest) : NULL;
    if (!path) end_init(OSB_INIT_PACKET);
    if (make_parents(AT_FDCWD, path) < 0) return -1;
    if (symlink(target, path) < 0) return setup_error("link %s", path);
  }
  for (uint32_t i = 0; i < setup->nfiles; i++) {
    const char *path = read_string(rest), *content = path ? read_string(rest) : NULL;
    if (!content) end_init(OSB_INIT_PACKET);
    if (write_generated(path, content) < 0) return -1;
  }
  return 0;
}
