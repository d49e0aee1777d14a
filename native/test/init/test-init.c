#define _GNU_SOURCE
#include <stdio.h>
#include "harness.h"
int main(void){ struct sandbox s; start_sandbox(&s,NULL);
 struct result*r=SH(&s,NULL,"id; ls -la / /dev; cat /proc/self/status | grep -i cap; ls -la /proc/self/fd; cat /proc/mounts; env; ps aux; echo hi >&2");
 printf("%u %d %d\n%s\n%s\n",r->exited.cause,r->exited.exit_code,r->exited.error,r->out,r->err);
 printf("%d\n",end_sandbox(&s)); }
