/* Hearing an init out: packets from its socket, checked (answers.c), matched with what was asked, and passed on. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answers.h"
#include "internal.h"

/* Answers read from one init before others have their turn. */
#define ANSWERS_PER_TURN 32

/* What is to be told when the lock is given back. */
struct news {
  struct osb_run *runs;
  struct osb_call *call; /* with fd and error below; at most one, then the lock is given back */
  int call_error, call_fd;
  osb_created *created;
  void *created_context;
};

static void on_ready(struct osb_sandbox *sandbox, struct news *news) {
  if (sandbox->state != OSB_CREATING) {
    osb_sandbox_condemn_locked(sandbox, "init said READY twice");
    return;
  }
  sandbox->state = OSB_IS_READY;
  sandbox->deadline_ms = 0;
  news->created = sandbox->created;
  news->created_context = sandbox->created_context;
  sandbox->created = NULL;
}

static void on_setup_failed(struct osb_sandbox *sandbox, const struct osb_setup_failed *body) {
  if (sandbox->state == OSB_CREATING)
    osb_fail(&sandbox->create_error, body->error, "set up a sandbox: %s: %s", body->what, strerror(body->error));
  osb_sandbox_condemn_locked(sandbox, "init said SETUP_FAILED: %s", body->what);
}

static void on_exited(struct osb_sandbox *sandbox, const struct osb_answer *answer, struct news *news) {
  struct osb_run *run = osb_run_exited_locked(sandbox, answer);
  if (!run) {
    osb_sandbox_condemn_locked(sandbox, "init ended a command that it was not given");
    return;
  }
  run->next = news->runs;
  news->runs = run;
}

/* Takes fd over if it is wanted: sets it to -1. */
static void on_file_done(struct osb_sandbox *sandbox, const struct osb_answer *answer, int *fd, struct news *news) {
  struct osb_call *call = sandbox->calls;
  while (call && call->id != answer->id) call = call->next;
  bool wants_fd = call && call->kind != OSB_CALL_WRITE && answer->file_done.error == 0;
  if (!call || wants_fd != (*fd >= 0)) {
    osb_sandbox_condemn_locked(sandbox, "init answered a file call that it was not given, or not with what it asks");
    return;
  }
  news->call = osb_call_take_locked(sandbox, answer->id);
  news->call_error = answer->file_done.error;
  news->call_fd = *fd;
  *fd = -1;
}

/* Number of bytes, 0 at end of file, -1 with errno. At most OSB_MAX_FDS descriptors are let in, more are flagged. */
static ssize_t receive(int socket, uint8_t packet[OSB_MAX_ANSWER], int fds[OSB_MAX_FDS], size_t *nfds, int *flags) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(OSB_MAX_FDS * sizeof(int))];
  } control;
  struct iovec iov = {packet, OSB_MAX_ANSWER};
  struct msghdr header = {.msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof control.space};
  *nfds = 0;
  ssize_t n;
  do n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return n;
  for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header); cmsg; cmsg = CMSG_NXTHDR(&header, cmsg)) {
    if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds + *nfds, CMSG_DATA(cmsg), count * sizeof(int));
    *nfds += count;
  }
  *flags = header.msg_flags;
  return n;
}

static void take_answer(struct osb_sandbox *sandbox, const uint8_t *packet, size_t size, int *fds, size_t nfds,
                        struct news *news) {
  struct osb_answer answer;
  const char *wrong = osb_answer_parse(packet, size, nfds, &answer);
  if (wrong) {
    osb_sandbox_condemn_locked(sandbox, "init broke the protocol: %s", wrong);
    return;
  }
  int none = -1;
  switch (answer.type) {
    case OSB_READY: on_ready(sandbox, news); break;
    case OSB_SETUP_FAILED: on_setup_failed(sandbox, &answer.setup_failed); break;
    case OSB_EXITED: on_exited(sandbox, &answer, news); break;
    default: on_file_done(sandbox, &answer, nfds ? &fds[0] : &none, news); break;
  }
}

/* One packet. False when there is none now, or never again. */
static bool read_answer_locked(struct osb_sandbox *sandbox, struct news *news) {
  uint8_t packet[OSB_MAX_ANSWER];
  int fds[OSB_MAX_FDS], flags = 0;
  size_t nfds;
  if (sandbox->socket.fd < 0 || sandbox->state == OSB_ENDING) return false;
  ssize_t n = receive(sandbox->socket.fd, packet, fds, &nfds, &flags);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  /* It ended with something of ours unread. That is said once, and before what it has said itself. */
  if (n < 0 && errno == ECONNRESET) return true;
  if (n == 0 && nfds == 0) {
    sandbox->ended_by_itself = true;
    osb_sandbox_condemn_locked(sandbox, "init closed its socket");
  } else if (n < 0) {
    osb_sandbox_condemn_locked(sandbox, "recvmsg from init: %s", strerror(errno));
  } else if (flags & (MSG_TRUNC | MSG_CTRUNC)) {
    osb_sandbox_condemn_locked(sandbox, "init broke the protocol: packet too long");
  } else {
    take_answer(sandbox, packet, (size_t)n, fds, nfds, news);
  }
  for (size_t i = 0; i < nfds; i++)
    if (fds[i] >= 0) close(fds[i]);
  return true;
}

static void tell(struct osb_sandbox *sandbox, struct news *news) {
  if (news->created) news->created(news->created_context, NULL, sandbox->handle);
  osb_runs_deliver(news->runs);
  if (news->call) osb_call_answered(sandbox->engine, news->call, news->call_error, news->call_fd);
}

static bool read_answers(struct osb_sandbox *sandbox) {
  struct news news = {0};
  bool more = true;
  pthread_mutex_lock(&sandbox->lock);
  for (int i = 0; more && !news.call && i < ANSWERS_PER_TURN; i++) more = read_answer_locked(sandbox, &news);
  pthread_mutex_unlock(&sandbox->lock);
  tell(sandbox, &news);
  return more;
}

void osb_sandbox_on_socket(struct osb_watch *watch, uint32_t events) {
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)watch - offsetof(struct osb_sandbox, socket));
  if (events & EPOLLOUT) {
    pthread_mutex_lock(&sandbox->lock);
    osb_send_queued_locked(sandbox);
    pthread_mutex_unlock(&sandbox->lock);
  }
  read_answers(sandbox);
}

/* What init said before it ended still counts: bounded by what a socket holds. */
void osb_sandbox_on_exit(struct osb_watch *watch, uint32_t events) {
  (void)events;
  struct osb_sandbox *sandbox = (struct osb_sandbox *)((char *)watch - offsetof(struct osb_sandbox, pidfd));
  while (read_answers(sandbox)) continue;
  pthread_mutex_lock(&sandbox->lock);
  if (sandbox->state != OSB_ENDING) sandbox->ended_by_itself = true;
  osb_sandbox_condemn_locked(sandbox, "init ended");
  osb_sandbox_tear_down_locked(sandbox);
  pthread_mutex_unlock(&sandbox->lock);
}
