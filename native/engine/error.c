#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int osb_fail(struct osb_error *error, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(error->text, sizeof error->text, format, args);
  va_end(args);
  error->code = code ? code : EIO;
  return -1;
}
