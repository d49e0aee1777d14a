/*
 * The floor: what it costs a small C program to start another program and wait for it. Nothing that runs commands can
 * be faster, so every latency of the benchmark is held against this one, measured in the same minutes.
 *
 *   floor PROGRAM
 *
 * Reads orders from stdin, one a line, and answers each on stdout:
 *
 *   latency COUNT      COUNT lines, the nanoseconds of one posix_spawn and waitpid each
 *   throughput MS      one line, how many were done one after another in MS milliseconds
 */
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

static char *const environment[] = {"PATH=/usr/bin:/bin", "HOME=/root", NULL};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Ends the benchmark where the program does not run as it should: a wrong floor is worse than none. */
static void run_once(const char *program) {
  char *const arguments[] = {(char *)program, NULL};
  pid_t child;
  int status;
  int error = posix_spawn(&child, program, NULL, NULL, arguments, environment);
  if (error != 0) {
    fprintf(stderr, "floor: %s: %s\n", program, strerror(error));
    exit(1);
  }
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "floor: %s failed\n", program);
    exit(1);
  }
}

static void print_latencies(const char *program, unsigned long count) {
  for (unsigned long i = 0; i < count; i++) {
    uint64_t start = now_ns();
    run_once(program);
    printf("%" PRIu64 "\n", now_ns() - start);
  }
}

static void print_throughput(const char *program, unsigned long ms) {
  unsigned long done = 0;
  for (uint64_t end = now_ns() + ms * NS_PER_MS; now_ns() < end; done++) run_once(program);
  printf("%lu\n", done);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: floor PROGRAM\n");
    return 2;
  }
  char order[16];
  unsigned long number;
  while (scanf("%15s %lu", order, &number) == 2) {
    if (strcmp(order, "latency") == 0) print_latencies(argv[1], number);
    if (strcmp(order, "throughput") == 0) print_throughput(argv[1], number);
    fflush(stdout);
  }
  return 0;
}
