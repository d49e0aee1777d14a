/* Requests to an init: making them, and sending them in order without ever waiting. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

/* Since Linux 6.3; silences the kernel's advice to say it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* ---- Making ---- */

struct osb_message *osb_message_new(uint32_t type, const void *body, size_t body_size, size_t variable_size) {
  size_t size = sizeof(struct osb_header) + body_size + variable_size;
  struct osb_message *message = malloc(sizeof *message + size);
  if (!message) abort();
  message->next = NULL;
  message->nfds = message->borrowed = 0;
  message->size = size;
  struct osb_header header = {.version = OSB_PROTOCOL_VERSION, .type = type, .size = (uint32_t)size};
  memcpy(message->bytes, &header, sizeof header);
  if (body_size) memcpy(message->bytes + sizeof header, body, body_size);
  return message;
}

uint8_t *osb_message_variable(struct osb_message *message, size_t body_size) {
  return message->bytes + sizeof(struct osb_header) + body_size;
}

void osb_message_free(struct osb_message *message) {
  if (!message) return;
  for (uint32_t i = 0; i < message->nfds; i++)
    if (!(message->borrowed & (1u << i))) close(message->fds[i]);
  free(message);
}

int osb_memfd(struct osb_error *error) {
  int fd = memfd_create("opensandbox", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("opensandbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd < 0 ? osb_fail(error, errno, "memfd_create") : fd;
}

int osb_memfd_fill(int fd, const void *bytes, size_t count, struct osb_error *error) {
  for (size_t at = 0; at < count;) {
    ssize_t n = write(fd, (const uint8_t *)bytes + at, count - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return osb_fail(error, n < 0 ? errno : ENOSPC, "write %zu bytes to a memfd", count);
    at += (size_t)n;
  }
  return 0;
}

int osb_memfd_seal(int fd, struct osb_error *error) {
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
    return osb_fail(error, errno, "seal a memfd");
  return 0;
}

/* ---- Sending ---- */

static ssize_t send_one(int socket, struct osb_message *message) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(OSB_MAX_FDS * sizeof(int))];
  } control;
  struct iovec iov = {message->bytes, message->size};
  struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
  if (message->nfds > 0) {
    header.msg_control = control.space;
    header.msg_controllen = CMSG_SPACE(message->nfds * sizeof(int));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(message->nfds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), message->fds, message->nfds * sizeof(int));
  }
  ssize_t n;
  do n = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n;
}

/* Level-triggered EPOLLOUT only while something is queued, or it would always be ready. */
static void watch_for_room(struct osb_sandbox *sandbox, bool room) {
  struct epoll_event event = {.events = EPOLLIN | (room ? (uint32_t)EPOLLOUT : 0), .data.ptr = &sandbox->socket};
  epoll_ctl(sandbox->engine->epoll, EPOLL_CTL_MOD, sandbox->socket.fd, &event);
}

/* True if the message is off our hands. */
static bool send_or_break(struct osb_sandbox *sandbox, struct osb_message *message) {
  if (send_one(sandbox->socket.fd, message) >= 0) return true;
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
    return false;
  if (errno == EPIPE || errno == ECONNRESET) {
    sandbox->ended_by_itself = true;
    osb_sandbox_condemn_locked(sandbox, "init closed its socket");
  } else {
    osb_sandbox_condemn_locked(sandbox, "sendmsg to init: %s", strerror(errno));
  }
  return true;
}

/* The queue is bounded by what may be under way: each run, call and kit has a message or two. */
void osb_send_locked(struct osb_sandbox *sandbox, struct osb_message *message, uint64_t id) {
  struct osb_header header;
  memcpy(&header, message->bytes, sizeof header);
  header.id = id;
  header.nfds = message->nfds;
  memcpy(message->bytes, &header, sizeof header);
  bool open = sandbox->socket.fd >= 0;
  if (!open || (!sandbox->queue && send_or_break(sandbox, message))) {
    osb_message_free(message);
    return;
  }
  if (!sandbox->queue) watch_for_room(sandbox, true);
  *sandbox->queue_tail = message;
  sandbox->queue_tail = &message->next;
}

void osb_send_queued_locked(struct osb_sandbox *sandbox) {
  while (sandbox->queue && sandbox->socket.fd >= 0) {
    struct osb_message *message = sandbox->queue;
    if (!send_or_break(sandbox, message)) return;
    /* Condemning may have emptied the queue; then the message went with it. */
    if (sandbox->queue != message) return;
    sandbox->queue = message->next;
    if (!sandbox->queue) sandbox->queue_tail = &sandbox->queue;
    osb_message_free(message);
  }
  if (sandbox->socket.fd >= 0) watch_for_room(sandbox, false);
}
