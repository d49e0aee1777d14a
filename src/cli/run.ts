/** `opensandbox run`: one command in a fresh sandbox, in this process, without a service. */
import { randomBytes } from 'node:crypto'
import { fstatSync } from 'node:fs'
import { checkArgumentBytes, checkCommand, checkEnv, checkPath } from '../../actors/arguments.ts'
import type { RunOutcome, RunSpec } from '../../actors/ports.ts'
import { MAX_STDIN_BYTES } from '../../proto/limits.ts'
import { resolveLimits } from '../../proto/run.ts'
import { ConfigError, type Parsed } from '../config/parse.ts'
import type { Settings } from '../config/settings.ts'
import { checkPlatform, checkSandboxing } from '../preflight.ts'
import { NativeSandboxProvider } from '../sandbox/provider.ts'
import { sandboxSettings } from '../sandbox-settings.ts'
import { StartError } from '../start-error.ts'

/** As shells report a process that a signal has ended. */
const SIGNAL_EXIT_CODE = 128
/** A command that did not run through for a reason of ours. */
const FAILED = 1
/** Of stdin that never ends; long enough for any program that is about to write. */
const STDIN_HINT_MS = 2_000

export async function run({ settings, rest }: Parsed): Promise<number> {
  const spec = specify(settings, rest)
  await requireHost()
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort('cancelled'))
  }
  spec.stdin = await readStdin(interrupted.signal)
  const provider = new NativeSandboxProvider(sandboxSettings(settings, { name: uniqueName(), poolSize: 0 }), {
    warn: ({ err }: { err?: unknown }, text) => complain(`${text}: ${err}`),
  })
  try {
    const sandbox = await provider.acquire({ network: settings.network })
    const outcome = await sandbox.run(spec, interrupted.signal)
    await write(process.stdout, outcome.stdout)
    await write(process.stderr, outcome.stderr)
    for (const line of explain(outcome, spec)) complain(line)
    return exitCodeOf(outcome)
  } finally {
    await provider.close()
  }
}

async function requireHost(): Promise<void> {
  const { findings } = await checkSandboxing()
  const missing = [checkPlatform(), ...findings].find(({ status }) => status === 'missing')
  if (missing !== undefined) throw new StartError(missing.detail)
}

/** Of this process's cgroups; one of an earlier process with the same pid may still be going away. */
function uniqueName(): string {
  return `cli-${process.pid}-${randomBytes(3).toString('hex')}`
}

/** Throws SandboxError for what the contract does not allow, ConfigError for a missing command. */
function specify(settings: Settings, command: string[]): RunSpec {
  if (command.length === 0) throw new ConfigError('no command given; see opensandbox help run')
  const env = Object.fromEntries(
    settings.env.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  )
  checkCommand(command)
  checkEnv(env)
  checkPath('--cwd', settings.cwd)
  checkArgumentBytes(command, env)
  const limits = resolveLimits({
    time: settings.time,
    mem: settings.mem,
    fsize: settings.fsize,
    nofile: settings.nofile,
    pids: settings.pids,
    output_limit: settings.outputLimit,
    ...(settings.wall === null ? {} : { wall: settings.wall }),
  })
  return { runId: 'cli', command, env, cwd: settings.cwd, stdin: new Uint8Array(0), limits }
}

/** What is piped or redirected into us; nothing from a terminal, because the command does not start before its end. */
async function readStdin(signal: AbortSignal): Promise<Uint8Array> {
  if (!isStdinGiven()) return new Uint8Array(0)
  const hint = setTimeout(
    () => complain('waiting for the end of stdin (</dev/null gives none)'),
    STDIN_HINT_MS,
  )
  const chunks: Buffer[] = []
  let bytes = 0
  const stop = () => process.stdin.destroy()
  signal.addEventListener('abort', stop)
  try {
    for await (const chunk of process.stdin) {
      bytes += chunk.length
      if (bytes > MAX_STDIN_BYTES) throw new StartError(`stdin has more than ${MAX_STDIN_BYTES} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    clearTimeout(hint)
    signal.removeEventListener('abort', stop)
    process.stdin.destroy()
  }
  return Buffer.concat(chunks)
}

function isStdinGiven(): boolean {
  try {
    const stat = fstatSync(0)
    return stat.isFIFO() || stat.isFile() || stat.isSocket()
  } catch {
    // It is closed.
    return false
  }
}

function exitCodeOf({ exitCode, signal }: RunOutcome): number {
  if (exitCode !== null) return exitCode
  return signal === null ? FAILED : SIGNAL_EXIT_CODE + signal
}

/** What the exit code does not say. */
function explain(outcome: RunOutcome, { limits }: RunSpec): string[] {
  const lines: string[] = []
  const reasons: Partial<Record<RunOutcome['cause'], string>> = {
    cpu_limit: `ended by the CPU time limit (--time ${limits.cpuTimeMs} ms)`,
    wall_limit: `ended by the wall time limit (--wall ${limits.wallTimeMs} ms)`,
    memory_limit: `ended by the memory limit (--mem ${limits.memoryKb} KB)`,
    output_limit: `ended by the file size limit (--fsize ${limits.fileSizeKb} KB)`,
    exec_failed: `cannot be executed`,
    cancelled: 'interrupted',
    session_ended: 'the sandbox ended',
  }
  const reason = reasons[outcome.cause]
  if (reason !== undefined) lines.push(outcome.error === null ? reason : `${reason}: ${outcome.error}`)
  for (const stream of ['stdout', 'stderr'] as const) {
    if (outcome[`${stream}Truncated`]) {
      lines.push(`${stream} is cut after ${limits.outputBytes} bytes (--output-limit)`)
    }
  }
  return lines
}

function complain(text: string): void {
  process.stderr.write(`opensandbox: ${text}\n`)
}

/** Whoever reads us may have had enough. */
function write(stream: NodeJS.WriteStream, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    stream.once('error', () => resolve())
    stream.write(bytes, () => resolve())
  })
}
