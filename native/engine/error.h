/* The one way in which the engine's functions fail: fill `error`, return -1. */
#ifndef OSB_ENGINE_ERROR_H
#define OSB_ENGINE_ERROR_H

#include "engine.h"

__attribute__((format(printf, 3, 4))) int osb_fail(struct osb_error *error, int code, const char *format, ...);

#endif
