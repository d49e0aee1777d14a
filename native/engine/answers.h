/* What an init says is hostile until it was checked here: nothing else looks at its bytes. */
#ifndef OSB_ENGINE_ANSWERS_H
#define OSB_ENGINE_ANSWERS_H

#include <stddef.h>

#include "../protocol.h"

/* The largest answer is far below. */
#define OSB_MAX_ANSWER 512u

struct osb_answer {
  uint32_t type;
  uint64_t id;
  union {
    struct osb_setup_failed setup_failed;
    struct osb_exited exited;
    struct osb_file_done file_done;
  };
};

/* NULL if the packet is sound by itself; whether it answers anything is for the caller. Else what is wrong with it. */
const char *osb_answer_parse(const uint8_t *packet, size_t size, size_t nfds, struct osb_answer *answer);

#endif
