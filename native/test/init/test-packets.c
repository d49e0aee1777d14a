/* Hostile packets, and a slow reader of the answers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests.h"

static int status_after(const void *bytes, size_t count, const int *fds, uint32_t nfds, bool ready) {
  struct sandbox sandbox;
  if (ready)
    start_sandbox(&sandbox, NULL);
  else
    spawn_only(&sandbox, NULL);
  send_raw(&sandbox, bytes, count, fds, nfds);
  return wait_for_init(&sandbox, 5000);
}

static void malformed_packets_end_init(void) {
  struct {
    struct osb_header header;
    union {
      struct osb_exec exec;
      struct osb_file_write write;
      struct osb_file_open open;
      struct osb_kit kit;
      struct osb_setup setup;
      char bytes[256];
    };
  } p = {{OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 1, 0, 0}, {{0}}};
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[20];
  for (int i = 0; i < 20; i++) fds[i] = null;
#define BAD(bytes, nfds) CHECK_INT(status_after(&p, bytes, fds, nfds, true), OSB_INIT_PACKET)
  size_t head = sizeof p.header;
  BAD(3, 0); /* shorter than a header */
  p.header.size = 200;
  BAD(head + 9, 0); /* size is not the packet's */
  p.header = (struct osb_header){99, OSB_FILE_OPEN, 1, (uint32_t)(head + 9), 0};
  BAD(head + 9, 0); /* version */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, 55, 1, (uint32_t)head, 0};
  BAD(head, 0); /* type */
  p.header.type = OSB_SETUP;
  BAD(head, 0); /* a second setup */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 1, (uint32_t)(head + 9), 2};
  p.open.path_bytes = 0;
  BAD(head + 9, 1); /* fewer descriptors than said */
  p.header.nfds = 0;
  BAD(head + 9, 1);  /* more */
  BAD(head + 9, 20); /* more than there is room for */
  p.open.path_bytes = 4000;
  BAD(head + 9, 0); /* path longer than the packet */
  p.header.type = OSB_FILE_WRITE;
  p.header.size = (uint32_t)(head + sizeof p.write + 3);
  p.write = (struct osb_file_write){.content_bytes = 1000000000000ull, .path_bytes = 0};
  BAD(head + sizeof p.write + 3, 0); /* content longer than the packet */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_EXEC, 1, (uint32_t)(head + sizeof p.exec), 2};
  BAD(head + sizeof p.exec, 2); /* stdio is three */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_KIT, 1, (uint32_t)(head + sizeof p.kit), 1};
  p.kit = (struct osb_kit){.kit = 1, .kind = OSB_CGROUP_V1, .present = 0xffffffff};
  BAD(head + sizeof p.kit, 1);
  p.kit.present = 3;
  BAD(head + sizeof p.kit, 1);
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_EXEC, 1, (uint32_t)head, 0};
  CHECK_INT(status_after(&p, head, fds, 0, false), OSB_INIT_PACKET); /* before SETUP */
  p.header = (struct osb_header){OSB_PROTOCOL_VERSION, OSB_SETUP, 1, (uint32_t)(head + sizeof p.setup), 0};
  p.setup =
      (struct osb_setup){.disk_bytes = 1 << 20, .disk_inodes = 100, .shm_bytes = 4096, .nbinds = 4000000000u};
  CHECK_INT(status_after(&p, head + sizeof p.setup, fds, 0, false), OSB_INIT_PACKET); /* no strings */
  p.bytes[sizeof p.setup] = 'h';
  p.header.size = (uint32_t)(head + sizeof p.setup + 2);
  CHECK_INT(status_after(&p, p.header.size, fds, 0, false), OSB_INIT_PACKET); /* no binds */
#undef BAD
  close(null);
}

static void refused_runs_take_their_kits_along(void) {
  for (uint32_t i = 0; i < OSB_MAX_KITS + 10; i++) {
    uint32_t kit = make_kit(&shared, &(struct kit_options){0});
    struct result *r = RUN(&shared, WITH(.kit = kit, .cwd = "relative"), "true");
    CHECK_INT(r->exited.stage, OSB_STAGE_REQUEST);
    CHECK(remove_kit(kit));
  }
}

static void strings_that_do_not_add_up_are_refused(void) {
  struct {
    struct osb_exec exec;
    char strings[64];
  } p = {.exec = {.argc = 2, .nofile = 64, .fsize_bytes = 1 << 20, .strings_bytes = 8}};
  memcpy(p.strings, "true\0/\0", 8);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[] = {null, null, null, null};
  uint64_t id;
  /* argc one too many, then one too few, then counts beyond all bounds, then a memfd that is not sealed. */
  for (int i = 0; i < 4; i++) {
    p.exec.argc = i == 0 ? 5 : i == 1 ? 1 : i == 2 ? 4000000000u : 1;
    if (i == 1) memcpy(p.strings, "true\0a\0/", 8);
    p.exec.flags = i == 3 ? OSB_EXEC_MEMFD : 0;
    send_message(&shared, OSB_EXEC, 77, &p.exec, sizeof p.exec, p.strings, i == 3 ? 0 : 8, fds,
                 i == 3 ? 4 : 3);
    struct osb_exited exited = wait_exited(&shared, &id);
    CHECK_INT(id, 77);
    CHECK_INT(exited.cause, OSB_CAUSE_EXEC_FAILED);
    CHECK_INT(exited.stage, OSB_STAGE_REQUEST);
    CHECK_INT(exited.error, i == 2 ? E2BIG : EINVAL);
  }
  close(null);
}

static void answers_wait_for_a_slow_reader(void) {
  struct sandbox sandbox;
  start_sandbox(&sandbox, NULL);
  /* More answers than a socket buffer takes, read only after all requests are in. */
  enum { COUNT = 2000 };
  struct timeval timeout = {0, 200000};
  setsockopt(sandbox.init.socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  struct osb_file_open request = {.path_bytes = 8};
  struct {
    struct osb_header header;
    struct osb_file_open body;
    char path[9];
  } __attribute__((packed)) packet = {
      {OSB_PROTOCOL_VERSION, OSB_FILE_OPEN, 0, sizeof packet, 0}, request, "/missing"};
  int sent = 0, received = 0;
  while (sent < COUNT) {
    packet.header.id = (uint64_t)sent;
    if (send(sandbox.init.socket, &packet, sizeof packet, 0) < 0) break;
    sent++;
  }
  CHECK(sent > 200);
  for (; received < sent; received++) {
    struct osb_file_done done;
    uint64_t id;
    int fd;
    CHECK_INT(receive_message(&sandbox, &id, &done, sizeof done, &fd), OSB_FILE_DONE);
    CHECK_INT(id, received);
    CHECK_INT(done.error, ENOENT);
  }
  PRINTS(&sandbox, "echo alive", "alive\n");
  CHECK_INT(end_sandbox(&sandbox), OSB_INIT_EOF);
}

static const struct test tests[] = {
    TEST(answers_wait_for_a_slow_reader),
    TEST(malformed_packets_end_init),
    CGROUP_TEST(refused_runs_take_their_kits_along),
    TEST(strings_that_do_not_add_up_are_refused),
};
const struct suite packets_suite = SUITE(tests);
