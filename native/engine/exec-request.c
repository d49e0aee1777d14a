/* The EXEC of a run: its strings, in the packet or in a memfd beside it, and its pipes. The kit comes when it is sent. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static size_t strings_size(const struct osb_exec_config *config) {
  size_t size = strlen(config->cwd) + 1;
  for (size_t i = 0; i < config->argc; i++) size += strlen(config->argv[i]) + 1;
  for (size_t i = 0; i < config->envc; i++) size += strlen(config->env[i]) + 1;
  return size;
}

static void put_strings(uint8_t *at, const struct osb_exec_config *config) {
  for (size_t i = 0; i < config->argc; i++) at = (uint8_t *)stpcpy((char *)at, config->argv[i]) + 1;
  for (size_t i = 0; i < config->envc; i++) at = (uint8_t *)stpcpy((char *)at, config->env[i]) + 1;
  strcpy((char *)at, config->cwd);
}

static int strings_memfd(const struct osb_exec_config *config, size_t size, struct osb_error *error) {
  uint8_t *strings = malloc(size);
  if (!strings) return osb_fail(error, ENOMEM, "no memory for the strings of a command");
  put_strings(strings, config);
  int fd = osb_memfd(error);
  if (fd >= 0 && (osb_memfd_fill(fd, strings, size, error) < 0 || osb_memfd_seal(fd, error) < 0)) {
    close(fd);
    fd = -1;
  }
  free(strings);
  return fd;
}

int osb_run_make_exec(struct osb_run *run, const struct osb_exec_config *config, struct osb_error *error) {
  size_t size = strings_size(config);
  if (config->argc == 0 || config->argc > UINT16_MAX || config->envc > UINT16_MAX)
    return osb_fail(error, EINVAL, "a command has 1 to 65535 arguments and at most 65535 environment variables");
  if (size > OSB_MAX_STRINGS) return osb_fail(error, E2BIG, "arguments and environment of %zu bytes", size);
  bool by_memfd = size > OSB_MAX_INLINE;
  struct osb_exec body = {
      .flags = by_memfd ? OSB_EXEC_MEMFD : 0,
      .argc = (uint32_t)config->argc,
      .envc = (uint32_t)config->envc,
      .strings_bytes = (uint32_t)size,
      .nofile = config->nofile,
      .fsize_bytes = config->fsize_bytes,
      .cpu_ms = config->cpu_ms,
      .wall_ms = config->wall_ms,
  };
  run->exec = osb_message_new(OSB_EXEC, &body, sizeof body, by_memfd ? 0 : size);
  if (!by_memfd) put_strings(osb_message_variable(run->exec, sizeof body), config);
  if (osb_run_open_input(run, config, error) < 0 || osb_run_open_output(&run->out, run->exec, error) < 0 ||
      osb_run_open_output(&run->err, run->exec, error) < 0)
    return -1;
  if (!by_memfd) return 0;
  int fd = strings_memfd(config, size, error);
  if (fd < 0) return -1;
  run->exec->fds[run->exec->nfds++] = fd;
  return 0;
}
