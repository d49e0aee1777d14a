#include "answers.h"

#include <stdbool.h>
#include <string.h>

/* Beyond these no honest init can count: 100 years, 4 PiB, every pid of the machine. */
#define MAX_US (100ull * 366 * 24 * 3600 * 1000000)
#define MAX_BYTES (1ull << 52)
#define MAX_PROCESSES (1u << 22)
#define MAX_ERRNO 4095
#define MAX_SIGNAL 64

static bool is_errno(int32_t error) { return error >= 0 && error <= MAX_ERRNO; }

static const char *check_setup_failed(const struct osb_setup_failed *body) {
  if (body->error <= 0 || !is_errno(body->error)) return "errno out of range";
  const char *end = memchr(body->what, 0, sizeof body->what);
  if (!end) return "unterminated text";
  for (const char *at = body->what; at < end; at++)
    if (*at < ' ' || *at > '~') return "unprintable text";
  return NULL;
}

static const char *check_exited(const struct osb_exited *body) {
  if (body->cause < OSB_CAUSE_EXITED || body->cause > OSB_CAUSE_SESSION_ENDED) return "unknown cause";
  /* Output is counted out here. */
  if (body->cause == OSB_CAUSE_OUTPUT_LIMIT) return "a cause that is not its to say";
  if (body->stage > OSB_STAGE_EXEC) return "unknown stage";
  if (!is_errno(body->error)) return "errno out of range";
  if ((body->cause == OSB_CAUSE_EXEC_FAILED) != (body->stage != OSB_STAGE_NONE)) return "stage without failure";
  if (body->stage == OSB_STAGE_NONE && body->error != 0) return "errno without stage";
  if (body->exit_code < -1 || body->exit_code > 255) return "exit code out of range";
  if (body->signal < 0 || body->signal > MAX_SIGNAL) return "signal out of range";
  if (body->exit_code >= 0 && body->signal > 0) return "both exit code and signal";
  if (body->cause == OSB_CAUSE_EXITED && body->exit_code < 0) return "exited without exit code";
  if (body->cause == OSB_CAUSE_SIGNALED && body->signal == 0) return "signaled without signal";
  if (body->leftover > MAX_PROCESSES || body->cpu_us > MAX_US || body->wall_us > MAX_US ||
      body->memory_peak_bytes > MAX_BYTES)
    return "implausible usage";
  return NULL;
}

static const char *check_file_done(const struct osb_file_done *body, size_t nfds) {
  if (!is_errno(body->error)) return "errno out of range";
  if (nfds > 1 || (nfds == 1 && body->error != 0)) return "descriptors that were not asked for";
  return NULL;
}

static size_t body_size(uint32_t type) {
  switch (type) {
    case OSB_READY: return 0;
    case OSB_SETUP_FAILED: return sizeof(struct osb_setup_failed);
    case OSB_EXITED: return sizeof(struct osb_exited);
    case OSB_FILE_DONE: return sizeof(struct osb_file_done);
    default: return SIZE_MAX;
  }
}

const char *osb_answer_parse(const uint8_t *packet, size_t size, size_t nfds, struct osb_answer *answer) {
  struct osb_header header;
  if (size < sizeof header) return "packet shorter than its header";
  memcpy(&header, packet, sizeof header);
  if (header.version != OSB_PROTOCOL_VERSION) return "another protocol version";
  if (header.size != size || header.nfds != nfds) return "size or descriptors do not add up";
  size_t body = body_size(header.type);
  if (body == SIZE_MAX) return "unknown type";
  if (size != sizeof header + body) return "wrong size for its type";
  if (nfds > 0 && header.type != OSB_FILE_DONE) return "descriptors that were not asked for";
  answer->type = header.type;
  answer->id = header.id;
  memcpy(&answer->setup_failed, packet + sizeof header, body);
  switch (header.type) {
    case OSB_SETUP_FAILED: return check_setup_failed(&answer->setup_failed);
    case OSB_EXITED: return check_exited(&answer->exited);
    case OSB_FILE_DONE: return check_file_done(&answer->file_done, nfds);
    default: return NULL;
  }
}
