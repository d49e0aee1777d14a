/** The actors' Sandbox over the native engine: translates names, units and errors, and decides nothing else. */
import { posix } from 'node:path'
import type { RunOutcome, RunSpec, Sandbox } from '../../actors/ports.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { FileEntry } from '../../proto/files.ts'
import { MAX_DIRECTORY_ENTRIES, MAX_FILE_BYTES } from '../../proto/limits.ts'
import { CAUSES, type Cause } from '../../proto/run.ts'
import type { KillCause, NativeEngine, NativeError, NativeExecConfig, NativeOutcome } from './binding.ts'
import { execFailure } from './exec-failure.ts'
import { engineError, fileError } from './native-errors.ts'

const BYTES_PER_KB = 1024
const US_PER_MS = 1000

/** What a command finds in its environment unless it brings its own, e.g. PATH and HOME. */
export type DefaultEnv = Readonly<Record<string, string>>

function environment(env: Record<string, string>, defaults: DefaultEnv): string[] {
  return Object.entries({ ...defaults, ...env }).map(([name, value]) => `${name}=${value}`)
}

function execConfig(spec: RunSpec, defaults: DefaultEnv): NativeExecConfig {
  const { limits } = spec
  return {
    argv: spec.command,
    env: environment(spec.env, defaults),
    cwd: spec.cwd,
    stdin: spec.stdin,
    cpuMs: limits.cpuTimeMs,
    wallMs: limits.wallTimeMs,
    memoryBytes: limits.memoryKb * BYTES_PER_KB,
    fileSizeBytes: limits.fileSizeKb * BYTES_PER_KB,
    openFiles: limits.openFiles,
    processes: limits.processes,
    outputBytes: limits.outputBytes,
  }
}

/** Sent by the kernel to a process that writes beyond RLIMIT_FSIZE. */
const SIGXFSZ = 25

/** The engine reports what the kernel did; that this signal means a limit of ours is known here. */
function causeOf({ cause: name, signal }: NativeOutcome): Cause {
  if (name === 'signaled' && signal === SIGXFSZ) return 'output_limit'
  const cause = CAUSES.find((known) => known === name)
  if (cause === undefined) throw new SandboxError('internal', `unknown cause of the engine: ${name}`)
  return cause
}

function runOutcome(
  outcome: NativeOutcome,
  ending: { exitCode: number | null; error: string | null },
): RunOutcome {
  return {
    cause: causeOf(outcome),
    exitCode: ending.exitCode,
    signal: outcome.signal > 0 ? outcome.signal : null,
    error: ending.error,
    stdout: outcome.stdout,
    stderr: outcome.stderr,
    stdoutTruncated: outcome.stdoutTruncated,
    stderrTruncated: outcome.stderrTruncated,
    usage: {
      cpu_ms: outcome.cpuUs / US_PER_MS,
      wall_ms: outcome.wallUs / US_PER_MS,
      memory_peak_kb: Math.ceil(outcome.memoryPeakBytes / BYTES_PER_KB),
    },
  }
}

const NOTHING = new Uint8Array(0)

/** A run that was cancelled before it began. */
function neverRan(cause: KillCause): RunOutcome {
  return {
    cause,
    exitCode: null,
    signal: null,
    error: null,
    stdout: NOTHING,
    stderr: NOTHING,
    stdoutTruncated: false,
    stderrTruncated: false,
    usage: { cpu_ms: 0, wall_ms: 0, memory_peak_kb: 0 },
  }
}

function killCause(signal: AbortSignal): KillCause {
  return signal.reason === 'session_ended' ? 'session_ended' : 'cancelled'
}

/** By code point, as UTF-8 sorts; JavaScript's own order is by UTF-16 unit. */
function byName(a: FileEntry, b: FileEntry): number {
  return Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
}

export class NativeSandbox implements Sandbox {
  readonly id: string
  readonly lost: Promise<string>
  readonly #engine: NativeEngine
  readonly #handle: number
  readonly #defaultEnv: DefaultEnv
  readonly #onGone: () => void
  #settleLost!: (reason: string) => void
  #lostReason: string | undefined
  #destroyed: Promise<void> | undefined

  constructor(id: string, engine: NativeEngine, handle: number, defaultEnv: DefaultEnv, onGone: () => void) {
    this.id = id
    this.#onGone = onGone
    this.#engine = engine
    this.#handle = handle
    this.#defaultEnv = defaultEnv
    this.lost = new Promise((resolve) => {
      this.#settleLost = resolve
    })
  }

  get isLost(): boolean {
    return this.#lostReason !== undefined
  }

  /** The engine's news that init ended by itself. */
  markLost(reason: string): void {
    if (this.#destroyed !== undefined || this.isLost) return
    this.#lostReason = reason
    this.#settleLost(reason)
  }

  async run(spec: RunSpec, signal: AbortSignal): Promise<RunOutcome> {
    this.#assertAlive()
    if (signal.aborted) return neverRan(killCause(signal))
    const outcome = await this.#exec(execConfig(spec, this.#defaultEnv), signal)
    if (outcome.cause !== 'exec_failed') {
      return runOutcome(outcome, { exitCode: outcome.exitCode >= 0 ? outcome.exitCode : null, error: null })
    }
    const exists = (path: string) => this.#isFile(path)
    return runOutcome(outcome, await execFailure(outcome, spec.command[0] ?? '', spec.cwd, exists))
  }

  writeFile(path: string, content: Uint8Array): Promise<void> {
    return this.#onPath(path, (done) => this.#engine.writeFile(this.#handle, path, content, done))
  }

  readFile(path: string): Promise<Uint8Array> {
    return this.#onPath(path, (done) => this.#engine.readFile(this.#handle, path, MAX_FILE_BYTES, done))
  }

  async listFiles(path: string): Promise<FileEntry[]> {
    const entries = await this.#onPath<{ name: string; isDirectory: boolean; size: number }[]>(path, (done) =>
      this.#engine.listDirectory(this.#handle, path, MAX_DIRECTORY_ENTRIES, done),
    )
    return entries
      .map(({ name, isDirectory, size }) => ({
        name,
        path: posix.join(path, name),
        is_directory: isDirectory,
        size,
      }))
      .sort(byName)
  }

  checkDirectory(path: string): Promise<void> {
    return this.#onPath(path, (done) => this.#engine.checkDirectory(this.#handle, path, done))
  }

  destroy(): Promise<void> {
    this.#destroyed ??= new Promise((resolve, reject) => {
      this.#engine.destroySandbox(this.#handle, (error) => {
        this.#onGone()
        if (error === null) resolve()
        else reject(new SandboxError('internal', `sandbox ${this.id} is not fully gone`, { cause: error }))
      })
    })
    return this.#destroyed
  }

  #exec(config: NativeExecConfig, signal: AbortSignal): Promise<NativeOutcome> {
    return new Promise((resolve, reject) => {
      const abort = () => this.#engine.kill(this.#handle, run, killCause(signal))
      const run = this.#engine.exec(this.#handle, config, (error, outcome) => {
        signal.removeEventListener('abort', abort)
        if (error === null) resolve(outcome)
        else reject(this.isLost ? this.#lostError() : engineError(error))
      })
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  #onPath<T>(path: string, start: (done: (error: NativeError | null, value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#assertAlive()
      start((error, value) => {
        if (error === null) resolve(value)
        else reject(this.isLost ? this.#lostError() : fileError(path, error))
      })
    })
  }

  /** One byte is enough to know: a larger file is there too. */
  #isFile(path: string): Promise<boolean> {
    return new Promise((resolve) => {
      this.#engine.readFile(this.#handle, path, 1, (error) =>
        resolve(error === null || error.code === 'EFBIG'),
      )
    })
  }

  #assertAlive(): void {
    if (this.isLost) throw this.#lostError()
  }

  #lostError(): SandboxError {
    return new SandboxError('session_lost', `The sandbox ended by itself: ${this.#lostReason}`)
  }
}
