/* What cgroups this host has, and which of them are ours. The root of a hierarchy is never assumed to be. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "error.h"

/* ---- Finding our own cgroup ---- */

static bool has_word(const char *list, const char *word) {
  size_t length = strlen(word);
  for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
    if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
  return false;
}

/* Lines "4:memory:/path"; v2 is "0::/path". */
static bool own_path(const char *controller, char *path, size_t size) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  bool found = false;
  char line[4096];
  while (file && !found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *names = strchr(line, ':');
    char *where = names ? strchr(names + 1, ':') : NULL;
    if (!where) continue;
    *where++ = 0;
    found = controller ? has_word(names + 1, controller) : names[1] == 0 && strncmp(line, "0:", 2) == 0;
    if (found) snprintf(path, size, "%s", where);
  }
  if (file) fclose(file);
  return found;
}

/* "36 35 98:0 /root /mount/point rw shared:1 - cgroup cgroup rw,memory" */
static bool mount_of(const char *controller, char *root, char *point, size_t size) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  bool found = false;
  char line[4096];
  while (file && !found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *tail = strstr(line, " - ");
    char type[32], options[1024], mounted_root[1024], mounted_at[1024];
    if (!tail || sscanf(tail, " - %31s %*s %1023s", type, options) != 2 ||
        sscanf(line, "%*s %*s %*s %1023s %1023s", mounted_root, mounted_at) != 2)
      continue;
    found = controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller) : strcmp(type, "cgroup2") == 0;
    if (!found) continue;
    snprintf(root, size, "%s", mounted_root);
    snprintf(point, size, "%s", mounted_at);
  }
  if (file) fclose(file);
  return found;
}

int osb_cgroup_own(const char *controller, char *text, size_t size, struct osb_error *error) {
  const char *name = controller ? controller : "cgroup2";
  char path[1024], root[1024], point[1024];
  if (!own_path(controller, path, sizeof path) || !mount_of(controller, root, point, sizeof point))
    return osb_fail(error, ENOENT, "no %s hierarchy is mounted", name);
  /* A container often shows a part of the tree: what is above the mount's root is not reachable. */
  const char *rest = path;
  size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
  if (strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0)) rest = path + length;
  else rest = "";
  if (strcmp(rest, "/") == 0 || strncmp(rest, "/..", 3) == 0) rest = "";
  if ((size_t)snprintf(text, size, "%s%s", point, rest) >= size)
    return osb_fail(error, ENAMETOOLONG, "path of our %s cgroup", name);
  if (access(text, F_OK) < 0 && (size_t)snprintf(text, size, "%s", point) >= size) return -1;
  return 0;
}

/* ---- Choosing ---- */

static bool v2_has_memory(void) {
  struct osb_error error;
  char path[512], file[600], text[512] = "";
  if (osb_cgroup_own(NULL, path, sizeof path, &error) < 0) return false;
  snprintf(file, sizeof file, "%s/cgroup.controllers", path);
  FILE *controllers = fopen(file, "re");
  bool found = controllers && fgets(text, sizeof text, controllers) && strstr(text, "memory") && strstr(text, "pids");
  if (controllers) fclose(controllers);
  return found;
}

const struct osb_cgroup_driver *osb_cgroup_detect(char *why_none, size_t size) {
  struct osb_error error;
  char path[512];
  const struct osb_cgroup_driver *driver = NULL;
  if (v2_has_memory()) driver = &osb_cgroup_v2;
  else if (osb_cgroup_own("memory", path, sizeof path, &error) == 0) driver = &osb_cgroup_v1;
  if (!driver) {
    snprintf(why_none, size, "no cgroup hierarchy with memory and pids is mounted here");
    return NULL;
  }
  if (osb_cgroup_own(driver == &osb_cgroup_v1 ? "memory" : NULL, path, sizeof path, &error) < 0 ||
      access(path, W_OK) < 0) {
    snprintf(why_none, size, "%s is not writable", path);
    return NULL;
  }
  return driver;
}
