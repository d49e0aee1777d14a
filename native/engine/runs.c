/*
 * Runs: one command each, from osb_exec to its outcome. Its output is drained while it runs; when init has said that the
 * command and all its descendants are gone, what is still in the pipes is all there will be, so it is read up to there
 * and not until end of file: another command of the session may have been handed the pipe and keep it open. For the
 * same reason we keep the writing ends ourselves: `io` need not be woken for an end of file just before the outcome.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "internal.h"

/* ---- Starting ---- */

static struct osb_run *run_new(struct osb_sandbox *sandbox, const struct osb_exec_config *config, osb_ran *done,
                               void *context) {
  struct osb_run *run = calloc(1, sizeof *run);
  if (!run) abort();
  run->sandbox = sandbox;
  run->limits = (struct osb_limits){config->memory_bytes, config->processes};
  osb_run_init_streams(run, config->output_bytes);
  run->outcome.exit_code = -1;
  run->outcome.text = "";
  run->started_ms = osb_now_ms();
  run->done = done;
  run->context = context;
  int64_t forever = INT64_MAX / 2;
  bool bounded = config->wall_ms > 0 && config->wall_ms < (uint64_t)forever / 2;
  run->deadline_ms = bounded ? run->started_ms + (int64_t)config->wall_ms + OSB_KILL_GRACE_MS + OSB_ANSWER_MS : forever;
  return run;
}

static struct osb_run *first_waiting_locked(const struct osb_sandbox *sandbox) {
  struct osb_run *run = sandbox->runs;
  while (run && !run->exec) run = run->next;
  return run;
}

const struct osb_limits *osb_run_waiting_limits_locked(const struct osb_sandbox *sandbox) {
  const struct osb_run *run = first_waiting_locked(sandbox);
  return run ? &run->limits : NULL;
}

void osb_run_unlink_locked(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  struct osb_run **at = &sandbox->runs;
  while (*at && *at != run) at = &(*at)->next;
  if (!*at) return;
  *at = run->next;
  run->next = NULL;
  sandbox->nruns--;
  if (run->exec) sandbox->nwaiting--;
}

static void send_kill_locked(struct osb_run *run, uint32_t cause) {
  struct osb_kill body = {.exec_id = run->id, .cause = cause};
  osb_send_locked(run->sandbox, osb_message_new(OSB_KILL, &body, sizeof body, 0), ++run->sandbox->last_id);
}

/* False: run->error is filled. */
static bool start_locked(struct osb_run *run, struct osb_kit_entry *kit) {
  struct osb_sandbox *sandbox = run->sandbox;
  run->kit = kit;
  if (kit && (kit->limits.memory_bytes != run->limits.memory_bytes || kit->limits.processes != run->limits.processes)) {
    char path[OSB_CGROUP_PATH];
    osb_kit_path(sandbox, kit, path);
    if (osb_cgroup_set_limits(&sandbox->engine->cgroups, path, &kit->limits, &run->limits, &run->error) < 0)
      return false;
  }
  if (kit) kit->limits = run->limits;
  if (kit) osb_send_locked(sandbox, osb_kit_message(sandbox, kit), ++sandbox->last_id);
  struct osb_message *exec = run->exec;
  run->exec = NULL;
  sandbox->nwaiting--;
  uint32_t number = kit ? kit->number : 0;
  memcpy(osb_message_variable(exec, offsetof(struct osb_exec, kit)), &number, sizeof number);
  osb_send_locked(sandbox, exec, run->id);
  /* Only now, while init is at work. */
  if (osb_run_watch_streams(run) < 0) send_kill_locked(run, OSB_CAUSE_CANCELLED);
  return true;
}

static void fail_locked(struct osb_run *run, struct osb_run **failed) {
  osb_run_unlink_locked(run);
  osb_run_drain_locked(run);
  run->next = *failed;
  *failed = run;
}

struct osb_run *osb_runs_start_locked(struct osb_sandbox *sandbox) {
  struct osb_run *failed = NULL, *run;
  bool kits = sandbox->engine->cgroups.driver != NULL;
  while (sandbox->state == OSB_IS_READY && (run = first_waiting_locked(sandbox))) {
    struct osb_kit_entry *kit = kits ? osb_kit_take_locked(sandbox, &run->limits) : NULL;
    if (kits && !kit) break;
    if (!start_locked(run, kit)) fail_locked(run, &failed);
  }
  osb_kits_want_locked(sandbox);
  return failed;
}

struct osb_run *osb_run_fail_waiting_locked(struct osb_sandbox *sandbox, const struct osb_error *error) {
  struct osb_run *failed = NULL, *run = first_waiting_locked(sandbox);
  if (!run) return NULL;
  run->error = *error;
  fail_locked(run, &failed);
  return failed;
}

/* Links the run; it is sent at once if a kit is there, else when builder has made one or another run gives one back. */
static int submit_locked(struct osb_sandbox *sandbox, struct osb_run *run, struct osb_run **failed) {
  if (sandbox->state != OSB_IS_READY) return osb_fail(&run->error, ESRCH, "the sandbox has ended");
  if (sandbox->nruns >= OSB_MAX_JOBS)
    return osb_fail(&run->error, EAGAIN, "%u commands are under way in the sandbox", sandbox->nruns);
  run->id = ++sandbox->last_id;
  struct osb_run **at = &sandbox->runs;
  while (*at) at = &(*at)->next;
  *at = run;
  sandbox->nruns++;
  sandbox->nwaiting++;
  sandbox->usual = run->limits;
  *failed = osb_runs_start_locked(sandbox);
  return 0;
}

uint64_t osb_exec(struct osb_engine *engine, uint64_t handle, const struct osb_exec_config *config, osb_ran *done,
                  void *context) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  if (!sandbox) {
    struct osb_error error;
    osb_fail(&error, ESRCH, "the sandbox has ended");
    done(context, &error, NULL);
    return 0;
  }
  struct osb_run *run = run_new(sandbox, config, done, context), *failed = NULL;
  int result = osb_run_make_exec(run, config, &run->error);
  pthread_mutex_lock(&sandbox->lock);
  if (result == 0) result = submit_locked(sandbox, run, &failed);
  uint64_t id = result == 0 ? run->id : 0; /* the run is not ours any more once the lock is given back */
  if (result < 0) {
    osb_run_drain_locked(run);
    failed = run;
  }
  pthread_mutex_unlock(&sandbox->lock);
  osb_runs_deliver(failed);
  osb_sandbox_drop(sandbox);
  return id;
}

void osb_kill(struct osb_engine *engine, uint64_t handle, uint64_t id, uint32_t cause) {
  struct osb_sandbox *sandbox = osb_sandbox_find(engine, handle);
  if (!sandbox) return;
  pthread_mutex_lock(&sandbox->lock);
  struct osb_run *run = sandbox->runs;
  while (run && run->id != id) run = run->next;
  if (run && run->exec) { /* init does not know it yet */
    osb_run_unlink_locked(run);
    osb_run_drain_locked(run);
    run->outcome.cause = cause;
  } else if (run && sandbox->state == OSB_IS_READY) {
    send_kill_locked(run, cause);
    run = NULL;
  } else {
    run = NULL;
  }
  pthread_mutex_unlock(&sandbox->lock);
  if (run) osb_runs_deliver(run);
  osb_sandbox_drop(sandbox);
}

/* ---- Ending ---- */

struct osb_run *osb_run_exited_locked(struct osb_sandbox *sandbox, const struct osb_answer *answer) {
  struct osb_run *run = sandbox->runs;
  while (run && run->id != answer->id) run = run->next;
  if (!run || run->exec) return NULL;
  const struct osb_exited *exited = &answer->exited;
  run->outcome = (struct osb_outcome){
      .cause = exited->cause,
      .stage = exited->stage,
      .error = exited->error,
      .exit_code = exited->exit_code,
      .signal = exited->signal,
      .leftover = exited->leftover,
      .cpu_us = exited->cpu_us,
      .wall_us = exited->wall_us,
      .memory_peak_bytes = exited->memory_peak_bytes,
      .text = "",
  };
  osb_run_drain_locked(run);
  osb_run_unlink_locked(run);
  return run;
}

/* A run that went well has left no process, was not helped by the OOM killer, and is what its cgroup says it is. */
static void return_kit(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  const struct osb_outcome *outcome = &run->outcome;
  bool by_itself = outcome->cause == OSB_CAUSE_EXITED || outcome->cause == OSB_CAUSE_SIGNALED ||
                   outcome->cause == OSB_CAUSE_EXEC_FAILED;
  bool well = by_itself && outcome->leftover == 0 && !run->error.code;
  bool spare = run->kit && well && osb_kit_reset(sandbox, run->kit);
  pthread_mutex_lock(&sandbox->lock);
  if (run->kit) osb_kit_return_locked(sandbox, run->kit, spare);
  struct osb_run *failed = osb_runs_start_locked(sandbox);
  osb_kits_clean_soon_locked(sandbox);
  pthread_mutex_unlock(&sandbox->lock);
  osb_runs_deliver(failed); /* not deeper: a run that did not start gives no kit back that another would start with */
}

static void deliver(struct osb_run *run) {
  struct osb_sandbox *sandbox = run->sandbox;
  struct osb_outcome *outcome = &run->outcome;
  bool failed = run->error.code != 0;
  outcome->out = failed ? NULL : run->out.bytes;
  outcome->out_bytes = run->out.count;
  outcome->out_truncated = run->out.truncated;
  outcome->err = failed ? NULL : run->err.bytes;
  outcome->err_bytes = run->err.count;
  outcome->err_truncated = run->err.truncated;
  run->done(run->context, failed ? &run->error : NULL, failed ? NULL : outcome);
  pthread_mutex_lock(&sandbox->lock);
  osb_run_close_streams_locked(run);
  pthread_mutex_unlock(&sandbox->lock);
  if (failed) free(run->out.bytes);
  if (failed) free(run->err.bytes);
  free(run->in.bytes);
  osb_message_free(run->exec);
  if (sandbox->engine->cgroups.driver) return_kit(run); /* only now: the caller need not wait for it */
  osb_bury(sandbox->engine, &run->grave, run);
}

void osb_runs_deliver(struct osb_run *runs) {
  while (runs) {
    struct osb_run *next = runs->next;
    deliver(runs);
    runs = next;
  }
}
