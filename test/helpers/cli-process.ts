/** The real command line as a real process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { packageRoot } from '../../src/config/package-root.ts'

const MAIN = join(packageRoot, 'dist/src/cli/main.js')
/** A second on an idle machine; other tests may take it all for a while. */
const READY_TIMEOUT_MS = 45_000
const POLL_MS = 20

export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: Buffer
  stderr: string
}

interface Options {
  env?: Record<string, string>
  /** Nothing where undefined, as of a terminal or /dev/null. */
  stdin?: string | Uint8Array
}

/** Runs it to its end. */
export async function runCli(args: string[], options: Options = {}): Promise<Finished> {
  const running = new CliProcess(args, options)
  if (options.stdin !== undefined) running.child.stdin?.end(options.stdin)
  return running.finished
}

export class CliProcess {
  readonly child: ChildProcess
  readonly finished: Promise<Finished>
  readonly #stdout: Buffer[] = []
  #stderr = ''
  #isClosed = false

  constructor(args: string[], { env = {}, stdin }: Options = {}) {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      // Nothing of the tester's own settings.
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...env },
    })
    this.child.stdin?.on('error', () => {})
    this.child.stdout?.on('data', (chunk) => this.#stdout.push(chunk))
    this.child.stderr?.on('data', (chunk) => {
      this.#stderr += chunk
    })
    this.finished = once(this.child, 'close').then(([code, signal]) => {
      this.#isClosed = true
      return { code, signal, stdout: Buffer.concat(this.#stdout), stderr: this.#stderr }
    })
  }

  get stdout(): string {
    return Buffer.concat(this.#stdout).toString()
  }

  /** The match of `pattern` in what it has written to stdout, as soon as there is one. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = performance.now() + READY_TIMEOUT_MS
    for (;;) {
      const isClosed = this.#isClosed
      const match = pattern.exec(this.stdout)
      if (match !== null) return match
      if (isClosed) throw new Error(`it ended before ${pattern}: ${this.#text()}`)
      if (performance.now() > deadline) throw new Error(`${pattern} did not come: ${this.#text()}`)
      await sleep(POLL_MS)
    }
  }

  #text(): string {
    return `${this.stdout}\n${this.#stderr}`
  }
}

export interface RunningService extends CliProcess {
  url: string
  grpcAddress: string
  stateDir: string
  workerId: string
}

export async function temporaryDirectory(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** `opensandbox serve` on free ports, on a state directory of its own unless given; killed if the test leaves it running. */
export async function startCliService(
  t: ExecutionContext,
  args: string[] = [],
  given: { stateDir?: string } = {},
): Promise<RunningService> {
  const stateDir = given.stateDir ?? (await temporaryDirectory(t))
  const workerId = `test-${process.pid}-${Math.random().toString(36).slice(2, 8)}`
  const service = new CliProcess([
    'serve',
    ...['--port', '0', '--grpc-port', '0', '--state-dir', stateDir, '--worker-id', workerId],
    ...['--pool-size', '2', '--log-format', 'json', ...args],
  ])
  t.teardown(async () => {
    service.child.kill('SIGTERM')
    const hurry = setTimeout(() => service.child.kill('SIGKILL'), READY_TIMEOUT_MS)
    await service.finished
    clearTimeout(hurry)
  })
  const [, url = '', grpcAddress = ''] = await service.until(/ready: HTTP on (\S+), gRPC on ([^\s"]+)/)
  return Object.assign(service, { url, grpcAddress, stateDir, workerId })
}

export async function post(
  url: string,
  body: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
}
