/* The parser of what an init says: every rule refused once, and random bytes through it. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/answers.h"

#define RANDOM_PACKETS 300000

static int passed, failed;

static void expect(const char *name, const char *actual, const char *expected) {
  bool same = (!actual && !expected) || (actual && expected && strcmp(actual, expected) == 0);
  same ? passed++ : failed++;
  if (!same) printf("not ok %s: %s, expected %s\n", name, actual ? actual : "(sound)", expected ? expected : "(sound)");
}

static uint8_t packet[OSB_MAX_ANSWER];

static size_t make(uint32_t type, const void *body, size_t size, uint32_t nfds) {
  struct osb_header header = {OSB_PROTOCOL_VERSION, type, 7, (uint32_t)(sizeof header + size), nfds};
  memcpy(packet, &header, sizeof header);
  if (size) memcpy(packet + sizeof header, body, size);
  return sizeof header + size;
}

static struct osb_answer answer;

static void headers(void) {
  struct osb_file_done done = {0};
  size_t size = make(OSB_READY, NULL, 0, 0);
  expect("READY", osb_answer_parse(packet, size, 0, &answer), NULL);
  expect("no packet", osb_answer_parse(packet, 0, 0, &answer), "packet shorter than its header");
  expect("short header", osb_answer_parse(packet, size - 1, 0, &answer), "packet shorter than its header");
  expect("descriptors unannounced", osb_answer_parse(packet, size, 1, &answer), "size or descriptors do not add up");
  size = make(OSB_READY, NULL, 0, 1);
  expect("descriptors with READY", osb_answer_parse(packet, size, 1, &answer), "descriptors that were not asked for");
  size = make(OSB_READY, &done, sizeof done, 0);
  expect("READY with a body", osb_answer_parse(packet, size, 0, &answer), "wrong size for its type");
  size = make(OSB_EXITED, NULL, 0, 0);
  expect("EXITED without a body", osb_answer_parse(packet, size, 0, &answer), "wrong size for its type");
  expect("packet longer than it says", osb_answer_parse(packet, size + 1, 0, &answer),
         "size or descriptors do not add up");
  uint32_t types[] = {0, OSB_SETUP, OSB_FILE_OPEN, 63, 68, UINT32_MAX};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    size = make(types[i], NULL, 0, 0);
    expect("not an answer", osb_answer_parse(packet, size, 0, &answer), "unknown type");
  }
  size = make(OSB_READY, NULL, 0, 0);
  packet[0]++;
  expect("version", osb_answer_parse(packet, size, 0, &answer), "another protocol version");
}

static void setup_failed(void) {
  struct osb_setup_failed body = {2, "mount /proc"};
  expect("SETUP_FAILED", osb_answer_parse(packet, make(OSB_SETUP_FAILED, &body, sizeof body, 0), 0, &answer), NULL);
  body.error = 0;
  expect("no errno", osb_answer_parse(packet, make(OSB_SETUP_FAILED, &body, sizeof body, 0), 0, &answer),
         "errno out of range");
  body.error = 2;
  body.what[3] = '\n';
  expect("control byte", osb_answer_parse(packet, make(OSB_SETUP_FAILED, &body, sizeof body, 0), 0, &answer),
         "unprintable text");
  memset(body.what, 'x', sizeof body.what);
  expect("no end", osb_answer_parse(packet, make(OSB_SETUP_FAILED, &body, sizeof body, 0), 0, &answer),
         "unterminated text");
}

static const struct osb_exited good = {.cause = OSB_CAUSE_EXITED, .exit_code = 3, .cpu_us = 5, .wall_us = 9};

static void exited(const char *name, struct osb_exited body, const char *expected) {
  expect(name, osb_answer_parse(packet, make(OSB_EXITED, &body, sizeof body, 0), 0, &answer), expected);
}

static void exits(void) {
  exited("EXITED", good, NULL);
  expect("EXITED id", answer.id == 7 && answer.exited.exit_code == 3 ? NULL : "not read", NULL);
#define WITH(change, expected)   \
  do {                           \
    struct osb_exited body = good; \
    change;                      \
    exited(#change, body, expected); \
  } while (0)
  WITH(body.cause = 0, "unknown cause");
  WITH(body.cause = 10, "unknown cause");
  WITH(body.cause = OSB_CAUSE_OUTPUT_LIMIT, "a cause that is not its to say");
  WITH(body.stage = 8, "unknown stage");
  WITH(body.error = -1, "errno out of range");
  WITH(body.error = 4096, "errno out of range");
  WITH(body.error = 5, "errno without stage");
  WITH(body.stage = OSB_STAGE_EXEC, "stage without failure");
  WITH(body.cause = OSB_CAUSE_EXEC_FAILED, "stage without failure");
  WITH(body.exit_code = -2, "exit code out of range");
  WITH(body.exit_code = 256, "exit code out of range");
  WITH(body.signal = -1, "signal out of range");
  WITH(body.signal = 65, "signal out of range");
  WITH(body.signal = 9, "both exit code and signal");
  WITH(body.exit_code = -1, "exited without exit code");
  WITH(body.cause = OSB_CAUSE_SIGNALED, "signaled without signal");
  WITH(body.leftover = 1u << 23, "implausible usage");
  WITH(body.cpu_us = UINT64_MAX, "implausible usage");
  WITH(body.wall_us = 1ull << 63, "implausible usage");
  WITH(body.memory_peak_bytes = 1ull << 53, "implausible usage");
  WITH((body.cause = OSB_CAUSE_EXEC_FAILED, body.stage = OSB_STAGE_EXEC, body.error = 2, body.exit_code = -1), NULL);
}

static void files(void) {
  struct osb_file_done body = {0};
  expect("FILE_DONE", osb_answer_parse(packet, make(OSB_FILE_DONE, &body, sizeof body, 0), 0, &answer), NULL);
  expect("with a file", osb_answer_parse(packet, make(OSB_FILE_DONE, &body, sizeof body, 1), 1, &answer), NULL);
  expect("with two", osb_answer_parse(packet, make(OSB_FILE_DONE, &body, sizeof body, 2), 2, &answer),
         "descriptors that were not asked for");
  body.error = 2;
  expect("error and a file", osb_answer_parse(packet, make(OSB_FILE_DONE, &body, sizeof body, 1), 1, &answer),
         "descriptors that were not asked for");
  body.error = 4096;
  expect("errno", osb_answer_parse(packet, make(OSB_FILE_DONE, &body, sizeof body, 0), 0, &answer), "errno out of range");
}

/* Sound headers over random bodies, so that the rules behind them are reached; allocated exactly, for ASan. */
static void random_packets(void) {
  srandom(1);
  const uint32_t types[] = {OSB_READY, OSB_SETUP_FAILED, OSB_EXITED, OSB_FILE_DONE, 5};
  long sound = 0;
  for (long i = 0; i < RANDOM_PACKETS; i++) {
    size_t size = (size_t)random() % 160;
    uint8_t *bytes = malloc(size ? size : 1);
    for (size_t at = 0; at < size; at++) bytes[at] = (uint8_t)(random() % 3 ? 0 : random());
    uint32_t nfds = (uint32_t)random() % 3;
    struct osb_header header = {OSB_PROTOCOL_VERSION, types[random() % 5], 1, (uint32_t)size, nfds};
    if (size >= sizeof header && random() % 8) memcpy(bytes, &header, sizeof header);
    if (!osb_answer_parse(bytes, size, nfds, &answer)) sound++;
    free(bytes);
  }
  expect("some random packets are sound", sound > 0 ? NULL : "none", NULL);
}

int main(void) {
  headers();
  setup_failed();
  exits();
  files();
  random_packets();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
