/** A sandbox in memory: its commands are scripted by name, its files are a map. */
import type { RunOutcome, RunSpec, Sandbox, SandboxProvider, SandboxSpec } from '../../actors/ports.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { Cause } from '../../proto/run.ts'

export function outcome(change: Partial<RunOutcome> = {}): RunOutcome {
  return {
    cause: 'exited',
    exitCode: 0,
    signal: null,
    error: null,
    stdout: new Uint8Array(0),
    stderr: new Uint8Array(0),
    stdoutTruncated: false,
    stderrTruncated: false,
    usage: { cpu_ms: 1, wall_ms: 2, memory_peak_kb: 3 },
    ...change,
  }
}

/**
 * `echo …` prints its arguments, `env` its environment, `cat` its stdin, `pwd` its cwd; `sleep` runs until it is
 * aborted; `stuck` ignores that; `broken` is a failure of ours.
 */
export class FakeSandbox implements Sandbox {
  readonly files = new Map<string, Uint8Array>()
  readonly directories = new Set(['/', '/tmp'])
  readonly runs: RunSpec[] = []
  destroyed = false
  readonly lost: Promise<string>
  #lose: (detail: string) => void = () => {}
  readonly #aborts = new Set<(error: Error) => void>()

  constructor(
    readonly id: string,
    readonly spec: SandboxSpec,
    readonly provider: FakeProvider,
  ) {
    this.lost = new Promise((resolve) => {
      this.#lose = resolve
    })
  }

  /** The init dies. */
  lose(detail: string): void {
    for (const reject of this.#aborts) reject(new SandboxError('session_lost', detail))
    this.#lose(detail)
  }

  async run(spec: RunSpec, signal: AbortSignal): Promise<RunOutcome> {
    this.runs.push(spec)
    const text = (value: string) => outcome({ stdout: Buffer.from(value) })
    switch (spec.command[0]) {
      case 'echo':
        return text(`${spec.command.slice(1).join(' ')}\n`)
      case 'env':
        return text(JSON.stringify(spec.env))
      case 'pwd':
        return text(spec.cwd)
      case 'cat':
        return outcome({ stdout: spec.stdin, stderr: Buffer.from('done'), exitCode: 3 })
      case 'broken':
        throw new Error('the engine broke')
      case 'sleep':
        return await this.#untilAborted(signal)
      case 'stuck':
        return await new Promise(() => {})
      default:
        return outcome({ cause: 'exec_failed', exitCode: 127, error: 'not found' })
    }
  }

  #untilAborted(signal: AbortSignal): Promise<RunOutcome> {
    return new Promise((resolve, reject) => {
      this.#aborts.add(reject)
      const end = () => resolve(outcome({ cause: signal.reason as Cause, exitCode: null, signal: 9 }))
      if (signal.aborted) end()
      else signal.addEventListener('abort', end, { once: true })
    })
  }

  async writeFile(path: string, content: Uint8Array): Promise<void> {
    if (this.directories.has(path)) throw new SandboxError('not_a_file', `${path} is a directory`)
    this.files.set(path, content)
  }

  async readFile(path: string): Promise<Uint8Array> {
    const content = this.files.get(path)
    if (content === undefined) throw new SandboxError('path_not_found', `${path} does not exist`)
    return content
  }

  async listFiles(path: string) {
    if (!this.directories.has(path)) throw new SandboxError('path_not_found', `${path} does not exist`)
    return [...this.files].map(([name, content]) => ({
      name: name.slice(1),
      path: name,
      is_directory: false,
      size: content.length,
    }))
  }

  async checkDirectory(path: string): Promise<void> {
    if (this.files.has(path)) throw new SandboxError('not_a_directory', `${path} is not a directory`)
    if (!this.directories.has(path)) throw new SandboxError('path_not_found', `${path} does not exist`)
  }

  async destroy(): Promise<void> {
    await this.provider.destroying
    this.destroyed = true
    if (this.provider.destroyFailure !== null) throw this.provider.destroyFailure
  }
}

export class FakeProvider implements SandboxProvider {
  readonly sandboxes: FakeSandbox[] = []
  /** What the next acquire throws. */
  failure: Error | null = null
  destroyFailure: Error | null = null
  /** What acquire and destroy wait for. */
  acquiring: Promise<void> = Promise.resolve()
  destroying: Promise<void> = Promise.resolve()

  async acquire(spec: SandboxSpec): Promise<FakeSandbox> {
    await this.acquiring
    if (this.failure !== null) throw this.failure
    const sandbox = new FakeSandbox(`sandbox-${this.sandboxes.length}`, spec, this)
    this.sandboxes.push(sandbox)
    return sandbox
  }

  get last(): FakeSandbox {
    const sandbox = this.sandboxes.at(-1)
    if (sandbox === undefined) throw new Error('no sandbox was acquired')
    return sandbox
  }
}
