import { SandboxError } from '../../../proto/errors.ts'
import type { EventRecord } from '../../../proto/events.ts'
import { DEFAULT_CWD, MAX_STDIN_BYTES } from '../../../proto/limits.ts'
import { type Cause, type RunArgs, RunArgsSchema, type RunMeta, resolveLimits } from '../../../proto/run.ts'
import { checkArgumentBytes, checkCommand, checkEnv, checkPath } from '../../arguments.ts'
import type { RunOutcome, RunSpec, Sandbox } from '../../ports.ts'
import {
  type CommandRequest,
  defineCommand,
  type Outcome,
  type Prepared,
  type SessionView,
} from '../command.ts'
import { commandText, envNames } from '../event-text.ts'

export const run = defineCommand({
  verb: 'run',
  schema: RunArgsSchema,
  phases: ['ready'],
  activity: true,
  maxBodyBytes: MAX_STDIN_BYTES,
  cancellable: true,
  // The caller waits for the command, not for the audit of its end.
  answersFirst: true,
  check({ command, env, cwd }) {
    checkCommand(command)
    if (env !== undefined) checkEnv(env)
    if (cwd !== undefined) checkPath('cwd', cwd)
  },
  prepare: (session, request) => prepareRun(session, request, { oneShot: false }),
})

type RunDefaults = Pick<SessionView, 'env' | 'cwd' | 'limits'>

/** A run over its defaults; one-shot runs, which have no session, come in here too. Throws `invalid_argument`. */
export function prepareRun(
  defaults: RunDefaults,
  request: CommandRequest<RunArgs>,
  { oneShot }: { oneShot: boolean },
): Prepared<RunMeta> {
  const spec = specify(defaults, request)
  const started: EventRecord = {
    type: 'run.started',
    data: {
      run_id: spec.runId,
      ...commandText(spec.command),
      cwd: spec.cwd,
      ...envNames(spec.env),
      limits: spec.limits,
      one_shot: oneShot,
    },
  }
  return { events: [started], perform: (sandbox, signal) => perform(sandbox, spec, signal, oneShot) }
}

function specify(defaults: RunDefaults, { id, args, body }: CommandRequest<RunArgs>): RunSpec {
  const env = args.env === undefined ? defaults.env : { ...defaults.env, ...args.env }
  checkArgumentBytes(args.command, env)
  return {
    runId: id,
    command: args.command,
    env,
    cwd: args.cwd === undefined || args.cwd === DEFAULT_CWD ? defaults.cwd : args.cwd,
    stdin: body,
    limits: resolveLimits(args, defaults.limits),
  }
}

async function perform(
  sandbox: Sandbox,
  spec: RunSpec,
  signal: AbortSignal,
  oneShot: boolean,
): Promise<Outcome<RunMeta>> {
  try {
    return toOutcome(spec.runId, await sandbox.run(spec, signal), oneShot)
  } catch (thrown) {
    const error = SandboxError.from(thrown)
    // The caller learns of a sandbox that ended under the command as of any other end of its session.
    if (error.code === 'session_lost') {
      return toOutcome(spec.runId, unfinished('session_ended', error.message), oneShot)
    }
    const { events = [] } = toOutcome(spec.runId, unfinished('worker_lost', error.message), oneShot)
    return { error, events }
  }
}

/** The end of a command of which nothing else is known. */
function unfinished(cause: Cause, error: string): RunOutcome {
  const nothing = new Uint8Array(0)
  return {
    cause,
    exitCode: null,
    signal: null,
    error,
    stdout: nothing,
    stderr: nothing,
    stdoutTruncated: false,
    stderrTruncated: false,
    usage: { cpu_ms: 0, wall_ms: 0, memory_peak_kb: 0 },
  }
}

function toOutcome(runId: string, outcome: RunOutcome, oneShot: boolean) {
  const value: RunMeta = {
    run_id: runId,
    exit_code: outcome.exitCode,
    signal: outcome.signal,
    cause: outcome.cause,
    error: outcome.error,
    usage: outcome.usage,
    stdout_bytes: outcome.stdout.length,
    stderr_bytes: outcome.stderr.length,
    stdout_truncated: outcome.stdoutTruncated,
    stderr_truncated: outcome.stderrTruncated,
  }
  const finished: EventRecord = { type: 'run.finished', data: { ...value, one_shot: oneShot } }
  return { value, body: concat(outcome.stdout, outcome.stderr), events: [finished] }
}

/** stdout first, then stderr; copied only where both have bytes. */
function concat(stdout: Uint8Array, stderr: Uint8Array): Uint8Array {
  if (stderr.length === 0) return stdout
  if (stdout.length === 0) return stderr
  return Buffer.concat([stdout, stderr])
}
