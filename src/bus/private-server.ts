/**
 * The nats-server of a single process: on a loopback port of its own, with credentials that only the owner of the
 * state directory can read, and its streams in that directory.
 *
 * It runs under a shell that waits for two things. When the server ends, so does the shell, with its status. When the
 * shell's stdin ends, because we closed it or because we are gone, however suddenly, it ends the server. (The kernel's
 * own way, PR_SET_PDEATHSIG, can only be set by the child itself.) Should the shell be killed as well, the next
 * start finds the server by its pid file. Both are in a process group of their own: Ctrl-C on a terminal must not take
 * the bus away from requests that are being finished.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SandboxError } from '../../proto/errors.ts'
import { busUnavailable } from './connection.ts'
import type { Logger } from './logger.ts'
import { findNatsServer, type NatsBinary } from './nats-binary.ts'
import { type Credentials, PrivateServerFiles, type ProcessId, processId } from './private-server-files.ts'

/** It takes 0.6 s; recovering a large stream after a crash takes longer. */
const READY_TIMEOUT_MS = 30_000
const READY_POLL_MS = 20
/** A clean shutdown writes out the streams. */
const STOP_TIMEOUT_MS = 5_000
const STALE_POLL_MS = 50
const RESTART_PAUSE_MIN_MS = 100
const RESTART_PAUSE_MAX_MS = 5_000
/** Ends in a row, none of which came after it had run for STEADY_MS, until we give up: about half a minute. */
const MAX_RESTARTS = 10
const STEADY_MS = 60_000
/** Kept of what it wrote, to say why it ended. */
const LAST_LINES = 5

/**
 * One processor: Go otherwise wakes idle ones for each message, and they spin beside Node and the commands. It makes
 * requests and appends 15 to 20 % faster (p50, two cores), and one carries 100,000 messages a second. Collecting garbage
 * at four times the heap costs 12 MB and takes a third off the p90 of 100 KB messages.
 */
const GO_RUNTIME = { GOMAXPROCS: '1', GOGC: '400' }

const SUPERVISE = `
exec 3<&0
"$1" -c "$2" </dev/null 3<&- & server=$!
{ read -r _ <&3; kill "$server"; } 2>/dev/null & watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
`

export interface PrivateServerOptions {
  /** Holds the streams and `nats.json`; made if need be. */
  stateDir: string
  /** Path of nats-server; searched for where undefined. */
  binary?: string | undefined
  /** Directories to search, as PATH is written. */
  searchPath: string
  log: Logger
}

export interface PrivateServer {
  /** With credentials. Stays the same when the server has to be restarted. */
  readonly url: string
  readonly version: string
  /** Settles only when the server keeps dying and is not restarted any more. */
  readonly lost: Promise<SandboxError>
  /** Ends the server. Idempotent. */
  stop(): Promise<void>
}

/** Throws `bus_unavailable` with the reason and the remedy. */
export async function startPrivateServer(options: PrivateServerOptions): Promise<PrivateServer> {
  const binary = await findNatsServer(options.binary, options.searchPath)
  const files = new PrivateServerFiles(options.stateDir)
  await endStaleServer(files, options)
  await files.prepare()
  const server = new Supervised(binary, files, options.log)
  await server.start()
  return server
}

/** The address of the private server that runs on `stateDir`, with credentials; undefined where none does. */
export async function privateServerUrl(stateDir: string): Promise<string | undefined> {
  const address = await new PrivateServerFiles(stateDir).readAddress()
  return address !== undefined && (await isAlive(address.owner)) ? address.url : undefined
}

class Supervised implements PrivateServer {
  readonly version: string
  readonly lost: Promise<SandboxError>
  readonly #binary: NatsBinary
  readonly #files: PrivateServerFiles
  readonly #log: Logger
  readonly #credentials: Credentials = {
    user: 'opensandbox',
    password: randomBytes(24).toString('base64url'),
  }
  readonly #stopping = new AbortController()
  #settleLost: (error: SandboxError) => void = () => {}
  #port = -1
  #child: ChildProcess | undefined
  #startedAt = 0
  #endsInARow = 0
  #lastLines: string[] = []
  #ended: Promise<void> = Promise.resolve()

  constructor(binary: NatsBinary, files: PrivateServerFiles, log: Logger) {
    this.version = binary.version
    this.#binary = binary
    this.#files = files
    this.#log = log
    this.lost = new Promise((resolve) => {
      this.#settleLost = resolve
    })
  }

  get url(): string {
    const { user, password } = this.#credentials
    return `nats://${user}:${password}@127.0.0.1:${this.#port}`
  }

  async start(): Promise<void> {
    await this.#files.writeConfig(this.#port, this.#credentials)
    this.#spawn()
    try {
      this.#port = await this.#untilReady()
      // From now on it keeps the port that it has picked.
      await this.#files.writeConfig(this.#port, this.#credentials)
      const owner = (await processId(process.pid)) as ProcessId
      await this.#files.writeAddress({ url: this.url, owner })
    } catch (thrown) {
      await this.stop()
      throw thrown
    }
  }

  async stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      this.#stopping.abort()
      this.#child?.stdin?.end()
    }
    const patience = new AbortController()
    const tooLong = sleep(STOP_TIMEOUT_MS, true, patience).catch(() => false)
    if ((await Promise.race([this.#ended, tooLong])) === true) this.#killGroup()
    patience.abort()
    await this.#ended
    await this.#files.remove()
  }

  #spawn(): void {
    const child = spawn('/bin/sh', ['-c', SUPERVISE, 'sh', this.#binary.path, this.#files.config], {
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
      cwd: '/',
      env: GO_RUNTIME,
    })
    this.#child = child
    this.#startedAt = performance.now()
    this.#lastLines = []
    // Writing to a shell that is gone must not end us.
    child.stdin.on('error', () => {})
    createInterface({ input: child.stderr }).on('line', (line) => this.#onLine(line))
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#lastLines.push(error.message)
        resolve()
      })
      // Not `exit`: what it said last is read by now, and nobody holds the port or the streams any more.
      child.once('close', () => resolve())
    })
    void this.#ended.then(() => this.#onEnd(child))
  }

  async #untilReady(): Promise<number> {
    const deadline = performance.now() + READY_TIMEOUT_MS
    while (performance.now() < deadline) {
      const port = await this.#files.pickedPort()
      if (port !== undefined) return port
      if (this.#child === undefined) throw this.#failure('nats-server ended at once')
      await sleep(READY_POLL_MS)
    }
    throw this.#failure(`nats-server was not ready in ${READY_TIMEOUT_MS} ms`)
  }

  #onEnd(child: ChildProcess): void {
    this.#child = undefined
    child.stdin?.destroy()
    if (this.#stopping.signal.aborted || this.#port === -1) return
    const steady = performance.now() - this.#startedAt > STEADY_MS
    this.#endsInARow = steady ? 1 : this.#endsInARow + 1
    const error = this.#failure('nats-server ended')
    if (this.#endsInARow > MAX_RESTARTS) this.#settleLost(error)
    else {
      this.#log.error({ err: error }, 'private nats-server ended, starting it again')
      this.#ended = this.#restart()
    }
  }

  async #restart(): Promise<void> {
    const pauseMs = Math.min(RESTART_PAUSE_MIN_MS * 2 ** (this.#endsInARow - 1), RESTART_PAUSE_MAX_MS)
    await sleep(pauseMs, undefined, { signal: this.#stopping.signal }).catch(() => {})
    if (!this.#stopping.signal.aborted) this.#spawn()
  }

  #killGroup(): void {
    this.#log.warn({}, 'private nats-server does not stop, killing it')
    try {
      if (this.#child?.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL')
    } catch {
      // It has just ended.
    }
  }

  #onLine(line: string): void {
    const [, level, text = line] = /\[(\w{3})\] (.*)$/.exec(line) ?? []
    if (level !== 'INF' && level !== 'WRN') {
      this.#lastLines = [...this.#lastLines, text].slice(-LAST_LINES)
      this.#log.warn({ line: text }, 'nats-server')
    } else this.#log.debug({ line: text }, 'nats-server')
  }

  #failure(what: string): SandboxError {
    const lines = this.#lastLines.length === 0 ? '' : `: ${this.#lastLines.join(' | ')}`
    return busUnavailable(`${what}${lines}`)
  }
}

/** One whose owner is gone is ended; one whose owner lives makes the state directory taken. */
async function endStaleServer(
  files: PrivateServerFiles,
  { stateDir, log }: PrivateServerOptions,
): Promise<void> {
  const owner = (await files.readAddress())?.owner
  if (owner !== undefined && (await isAlive(owner))) {
    throw busUnavailable(
      `${stateDir} is in use by process ${owner.pid}: stop that one, or give another --state-dir.`,
    )
  }
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const pid = await files.runningPid()
    if (pid === undefined) return
    log.warn({ pid, signal }, 'ending the nats-server of an earlier process')
    kill(pid, signal)
    for (let waitedMs = 0; waitedMs < STOP_TIMEOUT_MS; waitedMs += STALE_POLL_MS) {
      if ((await files.runningPid()) === undefined) return
      await sleep(STALE_POLL_MS)
    }
  }
  throw busUnavailable(`The nats-server of an earlier process on ${stateDir} cannot be ended.`)
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has just ended.
  }
}

async function isAlive({ pid, startTime }: ProcessId): Promise<boolean> {
  return (await processId(pid))?.startTime === startTime
}
