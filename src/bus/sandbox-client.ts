import { SandboxError } from '../../proto/errors.ts'
import type {
  FileListResult,
  FilePathArgs,
  FileWriteArgs,
  FileWriteBulkArgs,
  FileWriteBulkResult,
} from '../../proto/files.ts'
import type { RunArgs, RunMeta, RunResult } from '../../proto/run.ts'
import type { CreateArgs, CreateResult, SessionInfo, SetCwdArgs, SetEnvArgs } from '../../proto/session.ts'
import { type ControlVerb, isSubjectToken, subjects } from '../../proto/subjects.ts'
import type { Answer, BusClient, BusRequest, WorkerInfo } from './api.ts'
import { WorkerSilentError } from './pending-answer.ts'

const NO_BODY = new Uint8Array(0)

/** On whose behalf a method is called. */
export interface CallContext {
  tenant: string
  /** 1 to 64 letters, digits, `-` or `_`. */
  requestId: string
  /** `http`, `grpc`, `cli`, or the name of a service. */
  actor: string
  /** An abort rejects at once and cancels what the worker does for the request. */
  signal?: AbortSignal
}

/** The part of a request that a method adds to its context. */
interface Message {
  args?: unknown
  body?: Uint8Array
  /** Takes as long as the sandbox takes: the worker beats meanwhile. */
  beats?: boolean
}

/** What a sandbox does, as methods; each sends one message. Rejects with SandboxError only. */
export class SandboxClient {
  readonly #bus: BusClient

  constructor(bus: BusClient) {
    this.#bus = bus
  }

  /** Workers heard of lately. */
  workers(): WorkerInfo[] {
    return this.#bus.workers()
  }

  async createSession(context: CallContext, args: CreateArgs): Promise<CreateResult> {
    return (await this.#control<CreateResult>(context, 'create', { args, beats: true })).value
  }

  /** Of all workers; ordered by age, the oldest first. */
  async listSessions(context: CallContext): Promise<SessionInfo[]> {
    const request = { ...context, subject: subjects.list(context.tenant), args: {} }
    const answers = await this.#bus.gather<SessionInfo[]>(request)
    return answers
      .flatMap(({ value }) => value)
      .sort((a, b) => b.age_secs - a.age_secs || compare(a.id, b.id))
  }

  async getSession(context: CallContext, sessionId: string): Promise<SessionInfo> {
    return (await this.#command<SessionInfo>(context, sessionId, 'get', {})).value
  }

  /** Resolves when everything of the session is gone. */
  async deleteSession(context: CallContext, sessionId: string): Promise<void> {
    await this.#command(context, sessionId, 'delete', { beats: true })
  }

  /** Ends the session as its idle time would. */
  async expireSession(context: CallContext, sessionId: string): Promise<void> {
    await this.#command(context, sessionId, 'expire', { beats: true })
  }

  async setEnv(context: CallContext, sessionId: string, args: SetEnvArgs): Promise<void> {
    await this.#command(context, sessionId, 'set_env', { args })
  }

  async setCwd(context: CallContext, sessionId: string, args: SetCwdArgs): Promise<void> {
    await this.#command(context, sessionId, 'set_cwd', { args })
  }

  /** Whatever the command does is a result; so is the loss of the worker that runs it (`worker_lost`). */
  run(
    context: CallContext,
    sessionId: string,
    args: RunArgs,
    stdin: Uint8Array = NO_BODY,
  ): Promise<RunResult> {
    const answer = this.#command<RunMeta>(context, sessionId, 'run', { args, beats: true, body: stdin })
    return toRunResult(context, answer)
  }

  /** Runs a command in a fresh sandbox, gone afterwards. */
  runOnce(context: CallContext, args: RunArgs, stdin: Uint8Array = NO_BODY): Promise<RunResult> {
    const answer = this.#control<RunMeta>(context, 'run', { args, beats: true, body: stdin })
    return toRunResult(context, answer)
  }

  async writeFile(
    context: CallContext,
    sessionId: string,
    args: FileWriteArgs,
    content: Uint8Array,
  ): Promise<void> {
    await this.#command(context, sessionId, 'files_write', { args, beats: true, body: content })
  }

  async writeFiles(
    context: CallContext,
    sessionId: string,
    files: readonly { path: string; content: Uint8Array }[],
  ): Promise<FileWriteBulkResult> {
    const args: FileWriteBulkArgs = {
      files: files.map(({ path, content }) => ({ path, size: content.length })),
    }
    const body = Buffer.concat(files.map(({ content }) => content))
    const answer = await this.#command<FileWriteBulkResult>(context, sessionId, 'files_write_bulk', {
      args,
      body,
      beats: true,
    })
    return answer.value
  }

  async readFile(context: CallContext, sessionId: string, args: FilePathArgs): Promise<Uint8Array> {
    return (await this.#command(context, sessionId, 'files_read', { args, beats: true })).body
  }

  async listFiles(context: CallContext, sessionId: string, args: FilePathArgs): Promise<FileListResult> {
    return (await this.#command<FileListResult>(context, sessionId, 'files_list', { args, beats: true }))
      .value
  }

  #control<T>(context: CallContext, verb: ControlVerb, message: Message): Promise<Answer<T>> {
    return this.#bus.request(toRequest(context, subjects.control(context.tenant, verb), message), 'no_worker')
  }

  async #command<T>(
    context: CallContext,
    sessionId: string,
    verb: string,
    message: Message,
  ): Promise<Answer<T>> {
    if (!isSubjectToken(sessionId)) throw new SandboxError('session_not_found', 'There is no such session.')
    const subject = subjects.command(context.tenant, sessionId, verb)
    return this.#bus.request(toRequest(context, subject, message), 'session_not_found')
  }
}

/** Field by field: spreading objects would take as long as all the rest of sending a request. */
function toRequest(context: CallContext, subject: string, message: Message): BusRequest {
  const { tenant, requestId, actor, signal } = context
  const { args = {}, body = NO_BODY, beats = false } = message
  const request: BusRequest = { subject, args, body, beats, tenant, requestId, actor }
  if (signal !== undefined) request.signal = signal
  return request
}

async function toRunResult(context: CallContext, answer: Promise<Answer<RunMeta>>): Promise<RunResult> {
  try {
    const { value, body } = await answer
    if (value.stdout_bytes + value.stderr_bytes !== body.length) {
      const told = `${value.stdout_bytes} + ${value.stderr_bytes}`
      throw new SandboxError('internal', `The run's output has ${body.length} bytes instead of ${told}.`)
    }
    const stdout = body.subarray(0, value.stdout_bytes)
    return Object.assign(value, { stdout, stderr: body.subarray(value.stdout_bytes) })
  } catch (thrown) {
    if (thrown instanceof WorkerSilentError) return workerLost(context.requestId, thrown.message)
    throw thrown
  }
}

/** The run's own id died with its worker; the events of the run carry the request's. */
function workerLost(requestId: string, error: string): RunResult {
  return {
    run_id: requestId,
    exit_code: null,
    signal: null,
    cause: 'worker_lost',
    error,
    usage: { cpu_ms: 0, wall_ms: 0, memory_peak_kb: 0 },
    stdout_bytes: 0,
    stderr_bytes: 0,
    stdout_truncated: false,
    stderr_truncated: false,
    stdout: NO_BODY,
    stderr: NO_BODY,
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
