/* The engine's requests about files: FILE_WRITE and FILE_OPEN. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

void answer_file(uint64_t id, int error, int fd) {
  struct osb_file_done done = {.error = error};
  send_packet(OSB_FILE_DONE, id, &done, sizeof done, fd);
}

/* The path of a file request; ends init if it is not as long as was said. */
static const char *read_path(struct reader *rest, uint32_t bytes) {
  const char *path = read_string(rest);
  if (!path || strlen(path) != bytes) end_init(OSB_INIT_PACKET);
  return path;
}

void write_file(struct packet *packet) {
  struct reader rest;
  const struct osb_file_write *request = read_body(packet, sizeof *request, &rest);
  const char *path = read_path(&rest, request->path_bytes);
  bool memfd = request->flags & OSB_FILE_MEMFD;
  struct content content = {.count = request->content_bytes, .memfd = memfd ? packet->fds[0] : -1};
  if (!memfd) content.bytes = rest.at;
  if (packet->nfds != (memfd ? 1u : 0u) ||
      (size_t)(rest.end - rest.at) != (memfd ? 0 : request->content_bytes))
    end_init(OSB_INIT_PACKET);
  struct replacement r = {.id = packet->header.id};
  int error = prepare_replacement(path, request, &r);
  if (error == 0 && memfd && copy_in_child(&r, &content)) return;
  if (error == 0) error = end_replacement(&r, write_content(r.fd, &content));
  answer_file(packet->header.id, error, -1);
}

static int check_opened(int fd, uint32_t flags) {
  struct stat status;
  if (fstat(fd, &status) < 0) return errno;
  if (in_proc(fd)) return EACCES; /* it would be read with init's rights, not the commands' */
  if (flags & OSB_FILE_DIRECTORY) return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
  return S_ISDIR(status.st_mode) ? EISDIR : S_ISREG(status.st_mode) ? 0 : EINVAL;
}

void open_file(struct packet *packet) {
  struct reader rest;
  const struct osb_file_open *request = read_body(packet, sizeof *request, &rest);
  const char *path = read_path(&rest, request->path_bytes);
  if (rest.at != rest.end || packet->nfds != 0) end_init(OSB_INIT_PACKET);
  int fd = -1, error = path[0] == '/' ? 0 : EINVAL;
  if (error == 0) {
    int kind = request->flags & OSB_FILE_DIRECTORY ? O_DIRECTORY : 0;
    fd = open_inside(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | kind);
    error = fd < 0 ? errno : check_opened(fd, request->flags);
  }
  /* A socket's name cannot be opened at all. */
  if (error == ENXIO) error = EINVAL;
  if (error != 0 && fd >= 0) {
    close(fd);
    fd = -1;
  }
  answer_file(packet->header.id, error, fd);
}
