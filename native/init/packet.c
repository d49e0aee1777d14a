/* The socket to the engine: whole packets in, whole packets out, nothing blocks. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "init.h"

#define SOCKET 3
/* The largest body of an answer. */
#define ANSWER_BYTES sizeof(struct osb_setup_failed)
/* Each job and each copy under way (file-copies.c: 32) owes one answer, each request of a batch (main.c: 16)
 * one more. */
#define QUEUE_LENGTH (OSB_MAX_JOBS + 64u)

struct answer {
  struct osb_header header;
  uint8_t body[ANSWER_BYTES];
  int fd;
};

static _Alignas(8) uint8_t buffer[OSB_MAX_PACKET];
static struct answer queue[QUEUE_LENGTH]; /* ring */
static uint32_t queue_head, queue_count;

/* ---- In ---- */

static void take_descriptors(struct msghdr *message, struct packet *packet) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) end_init(OSB_INIT_PACKET);
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (count > OSB_MAX_FDS - packet->nfds) end_init(OSB_INIT_PACKET);
    memcpy(packet->fds + packet->nfds, CMSG_DATA(c), count * sizeof(int));
    packet->nfds += (uint32_t)count;
  }
}

bool receive_packet(struct packet *packet) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(OSB_MAX_FDS * sizeof(int))];
  } control;
  struct iovec part = {buffer, sizeof buffer};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;
  do n = recvmsg(SOCKET, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) end_init(OSB_INIT_EOF);
  packet->nfds = 0;
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) end_init(OSB_INIT_PACKET);
  take_descriptors(&message, packet);
  if ((size_t)n < sizeof packet->header) end_init(OSB_INIT_PACKET);
  memcpy(&packet->header, buffer, sizeof packet->header);
  if (packet->header.version != OSB_PROTOCOL_VERSION || packet->header.size != (size_t)n ||
      packet->header.nfds != packet->nfds)
    end_init(OSB_INIT_PACKET);
  packet->body = buffer + sizeof packet->header;
  packet->body_bytes = (size_t)n - sizeof packet->header;
  return true;
}

int take_fd(struct packet *packet, uint32_t index) {
  int fd = packet->fds[index];
  packet->fds[index] = -1;
  return fd;
}

void close_packet(struct packet *packet) {
  for (uint32_t i = 0; i < packet->nfds; i++)
    if (packet->fds[i] >= 0) close(packet->fds[i]);
  packet->nfds = 0;
}

const void *read_body(const struct packet *packet, size_t bytes, struct reader *rest) {
  if (packet->body_bytes < bytes) end_init(OSB_INIT_PACKET);
  *rest = (struct reader){packet->body + bytes, packet->body + packet->body_bytes};
  return packet->body;
}

const char *read_string(struct reader *reader) {
  const uint8_t *start = reader->at;
  const uint8_t *nul = start == reader->end ? NULL : memchr(start, 0, (size_t)(reader->end - start));
  if (!nul) return NULL;
  reader->at = nul + 1;
  return (const char *)start;
}

/* ---- Out ---- */

/* False: no room now. */
static bool send_now(const struct answer *answer) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec parts[] = {{(void *)&answer->header, sizeof answer->header},
                          {(void *)answer->body, answer->header.size - sizeof answer->header}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  if (answer->fd >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &answer->fd, sizeof(int));
  }
  ssize_t n;
  do n = sendmsg(SOCKET, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) return false;
  if (n < 0) end_init(OSB_INIT_EOF);
  if (answer->fd >= 0) close(answer->fd);
  return true;
}

void send_packet(uint32_t type, uint64_t id, const void *body, size_t bytes, int fd) {
  struct answer answer = {.header = {.version = OSB_PROTOCOL_VERSION,
                                     .type = type,
                                     .id = id,
                                     .size = (uint32_t)(sizeof answer.header + bytes),
                                     .nfds = fd >= 0},
                          .fd = fd};
  if (bytes > sizeof answer.body) end_init(OSB_INIT_SYSTEM);
  if (bytes > 0) memcpy(answer.body, body, bytes);
  if (queue_count == 0 && send_now(&answer)) return;
  if (queue_count == QUEUE_LENGTH) end_init(OSB_INIT_SYSTEM);
  queue[(queue_head + queue_count++) % QUEUE_LENGTH] = answer;
}

bool answers_queued(void) { return queue_count > 0; }

void send_queued(void) {
  while (queue_count > 0 && send_now(&queue[queue_head])) {
    queue_head = (queue_head + 1) % QUEUE_LENGTH;
    queue_count--;
  }
}
