/** A provider of real sandboxes for one test file, and what tests do with them. */
import anyTest, { type ExecutionContext, type TestFn } from 'ava'
import type { RunOutcome, Sandbox } from '../../actors/ports.ts'
import { type ErrorCode, SandboxError } from '../../proto/errors.ts'
import { type LimitArgs, resolveLimits } from '../../proto/run.ts'
import { NativeSandboxProvider, type SandboxSettings } from '../../src/sandbox/provider.ts'
import { sandboxObstacle } from '../helpers/sandbox-obstacle.ts'

const MIB = 1024 * 1024

const why = sandboxObstacle()
if (why !== undefined) anyTest(`real sandboxes are not tested: ${why}`, (t) => t.log(why))

/** ava's `test` for tests that need real sandboxes: skipped, visibly, where there can be none. */
export const test: TestFn = why === undefined ? anyTest : (anyTest.skip as unknown as TestFn)

const SETTINGS: Omit<SandboxSettings, 'name'> = {
  poolSize: 0,
  diskBytes: 256 * MIB,
  diskInodes: 16_384,
  shmBytes: 64 * MIB,
  sessionMemoryBytes: 0,
  sessionProcesses: 0,
  binds: [],
}

let rigs = 0

export class Rig {
  readonly name: string
  readonly provider: NativeSandboxProvider
  readonly warnings: unknown[] = []

  constructor(settings: Partial<SandboxSettings> = {}) {
    rigs += 1
    this.name = `test-${process.pid}-${rigs}`
    const log = { warn: (fields: object) => void this.warnings.push(fields) }
    this.provider = new NativeSandboxProvider({ ...SETTINGS, name: this.name, ...settings }, log)
  }

  sandbox(): Promise<Sandbox> {
    return this.provider.acquire({ network: 'none' })
  }

  /** Gives `use` a sandbox of its own. */
  async with<T>(use: (sandbox: Sandbox) => Promise<T>): Promise<T> {
    const sandbox = await this.sandbox()
    try {
      return await use(sandbox)
    } finally {
      await sandbox.destroy()
    }
  }

  close(): Promise<void> {
    return this.provider.close()
  }
}

/** A rig for a whole test file, closed after its tests; made at first use, so that a skipped file makes none. */
export function fileRig(settings: Partial<SandboxSettings> = {}): () => Rig {
  let rig: Rig | undefined
  anyTest.after.always(async () => rig?.close())
  return () => {
    rig ??= new Rig(settings)
    return rig
  }
}

export interface RunOptions extends LimitArgs {
  env?: Record<string, string>
  cwd?: string
  stdin?: Uint8Array | string
  signal?: AbortSignal
}

export function run(sandbox: Sandbox, command: string[], options: RunOptions = {}): Promise<RunOutcome> {
  const { env = {}, cwd = '/', stdin = '', signal = new AbortController().signal, ...limits } = options
  const spec = {
    runId: 'run',
    command,
    env,
    cwd,
    stdin: typeof stdin === 'string' ? Buffer.from(stdin) : stdin,
    limits: resolveLimits(limits),
  }
  return sandbox.run(spec, signal)
}

export function sh(sandbox: Sandbox, script: string, options: RunOptions = {}): Promise<RunOutcome> {
  return run(sandbox, ['/bin/sh', '-c', script], options)
}

export function python(sandbox: Sandbox, program: string, options: RunOptions = {}): Promise<RunOutcome> {
  return run(sandbox, ['/usr/bin/python3', '-c', program], options)
}

export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString()
}

/** How a run ended, for comparison with an exact value. */
export function ending(outcome: RunOutcome) {
  const { cause, exitCode, signal, error } = outcome
  return { cause, exitCode, signal, error, stdout: text(outcome.stdout), stderr: text(outcome.stderr) }
}

/** `ending` of a command that printed `stdout` and exited with 0. */
export function success(stdout: string) {
  return { cause: 'exited', exitCode: 0, signal: null, error: null, stdout, stderr: '' }
}

export async function throwsCode(t: ExecutionContext, action: Promise<unknown>, code: ErrorCode) {
  const error = await t.throwsAsync(action, { instanceOf: SandboxError })
  t.is((error as SandboxError | undefined)?.code, code, error?.message)
  return error
}
