/** The composition root: puts the parts of a service together by its role, and takes them apart again. */
import type { Logger } from 'pino'
import type { Bus } from './bus/bus.ts'
import { openBus } from './bus/bus.ts'
import { startPrivateServer } from './bus/private-server.ts'
import { SandboxClient } from './bus/sandbox-client.ts'
import { searchPath } from './config/environment.ts'
import type { Settings } from './config/settings.ts'
import { version } from './config/version.ts'
import { startGrpc } from './grpc/server.ts'
import { startHttp } from './http/server.ts'
import { checkNats, checkPlatform, checkSandboxing, type Finding } from './preflight.ts'
import type { HostReport } from './sandbox/host-report.ts'
import { StartError } from './start-error.ts'
import { openStateDirectory, type StateDirectory } from './state-directory.ts'
import type { Worker } from './worker/start-worker.ts'

/** For the answer of a command that the end of the grace period ended. */
const ANSWER_MS = 1_000

export interface Address {
  host: string
  port: number
}

export interface Service {
  /** Null where the role has none. */
  httpAddress: Address | null
  grpcAddress: Address | null
  workerId: string | null
  /** With credentials. */
  natsUrl: string
  /** Settles only when the service cannot go on by itself. */
  lost: Promise<Error>
  /** Takes no new requests, waits up to the grace period for running commands, leaves nothing behind. Idempotent. */
  stop(): Promise<void>
  /** Ends the wait of `stop`. */
  hurry(): void
}

/** Throws StartError, with the remedy in one line; nothing is left then. */
export async function startService(settings: Settings, log: Logger): Promise<Service> {
  const assembly = new Assembly(settings, log)
  try {
    return await assembly.start()
  } catch (error) {
    await assembly.stop()
    throw error
  }
}

class Assembly {
  readonly #settings: Settings
  readonly #log: Logger
  /** What stops each part, in the order in which they were started. */
  readonly #cleanups: { what: string; run: () => Promise<void> }[] = []
  readonly #frontEnds: { stop(graceMs: number): Promise<void> }[] = []
  #worker: Worker | undefined
  #lost: Promise<Error> = new Promise(() => {})
  #stopped: Promise<void> | undefined

  constructor(settings: Settings, log: Logger) {
    this.#settings = settings
    this.#log = log
  }

  async start(): Promise<Service> {
    const { role } = this.#settings
    const report = await this.#checkHost()
    const state = role === 'gateway' ? undefined : await this.#openState()
    const natsUrl = this.#settings.natsUrl ?? (await this.#startNats(state as StateDirectory))
    const bus = await this.#openBus(natsUrl)
    const workerId = state === undefined ? null : await this.#startWorker(bus, state, report as HostReport)
    const frontEnds = role === 'worker' ? null : await this.#startFrontEnds(bus)
    return {
      httpAddress: frontEnds?.http ?? null,
      grpcAddress: frontEnds?.grpc ?? null,
      workerId,
      natsUrl,
      lost: this.#lost,
      stop: () => this.stop(),
      hurry: () => this.hurry(),
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#takeApart()
    return this.#stopped
  }

  hurry(): void {
    this.#worker?.hurry()
    for (const frontEnd of this.#frontEnds) void frontEnd.stop(ANSWER_MS)
  }

  async #checkHost(): Promise<HostReport | undefined> {
    const { role, requireLimits, natsUrl } = this.#settings
    if (role !== 'all' && natsUrl === null) {
      throw new StartError(
        `--role ${role} needs a NATS server that is shared with the others: give --nats-url`,
      )
    }
    const findings = [checkPlatform()]
    let report: HostReport | undefined
    if (role !== 'gateway') {
      const sandboxing = await checkSandboxing()
      report = sandboxing.report
      findings.push(...sandboxing.findings)
    }
    findings.push(await checkNats(this.#settings, searchPath))
    this.#judge(findings, requireLimits)
    return report
  }

  #judge(findings: Finding[], requireLimits: boolean): void {
    const missing = findings.find(({ status }) => status === 'missing')
    if (missing !== undefined) throw new StartError(missing.detail)
    const weak = findings.filter(({ status }) => status === 'weak')
    const text = weak.map(({ what, detail }) => `${what}: ${detail}`).join('; ')
    if (weak.length > 0 && requireLimits) throw new StartError(`--require-limits: ${text}`)
    for (const { what, detail } of weak) this.#log.warn({ what }, detail)
  }

  async #openState(): Promise<StateDirectory> {
    const state = await openStateDirectory(this.#settings.stateDir)
    this.#onStop('state directory', () => state.release())
    return state
  }

  async #startNats(state: StateDirectory): Promise<string> {
    const server = await startPrivateServer({
      stateDir: state.path,
      binary: this.#settings.natsServerBin ?? undefined,
      searchPath,
      log: this.#log.child({ part: 'nats' }),
    })
    this.#onStop('nats-server', () => server.stop())
    this.#lost = server.lost
    this.#log.info({ version: server.version, stateDir: state.path }, 'private nats-server is up')
    return server.url
  }

  async #openBus(url: string): Promise<Bus> {
    const { role } = this.#settings
    const bus = await openBus({ url, name: `opensandbox ${role}`, log: this.#log.child({ part: 'bus' }) })
    this.#onStop('bus', () => bus.close())
    this.#log.info({ server: bus.serverVersion }, 'connected to NATS')
    return bus
  }

  async #startWorker(bus: Bus, state: StateDirectory, report: HostReport): Promise<string> {
    // Only now, because a gateway needs neither the addon nor the actors.
    const { NativeSandboxProvider } = await import('./sandbox/provider.ts')
    const { startWorker } = await import('./worker/start-worker.ts')
    const { sandboxSettings } = await import('./sandbox-settings.ts')
    const settings = this.#settings
    const log = this.#log.child({ part: 'worker' })
    await bus.events.ensureStream()
    const workerId = settings.workerId ?? (await state.workerId())
    const provider = new NativeSandboxProvider(
      sandboxSettings(settings, { name: workerId, poolSize: settings.poolSize }),
      log,
    )
    this.#onStop('sandboxes', () => provider.close())
    await provider.start()
    this.#log.info({ ready: provider.readyCount, cgroup: report.cgroup }, 'sandboxes are ready')
    this.#worker = startWorker({
      bus: bus.server,
      events: bus.events,
      provider,
      log,
      workerId,
      maxSessions: settings.maxSessions,
      maxRunning: settings.maxRuns,
      defaultTtlSecs: settings.sessionTtlSecs,
      previewDomain: settings.previewDomain,
      allowHostNetwork: settings.allowHostNetwork,
      limits: report.limits,
      version,
    })
    this.#log.info({ workerId, maxSessions: settings.maxSessions }, 'worker takes sessions')
    return workerId
  }

  async #startFrontEnds(bus: Bus): Promise<{ http: Address; grpc: Address }> {
    const { host, port, grpcPort } = this.#settings
    const grpcHost = this.#settings.grpcHost ?? host
    const client = new SandboxClient(bus.client)
    const http = await listening('--port', host, port, () =>
      startHttp({ client, log: this.#log.child({ part: 'http' }), host, port, version }),
    )
    this.#frontEnds.push(http)
    const grpc = await listening('--grpc-port', grpcHost, grpcPort, () =>
      startGrpc({ client, log: this.#log.child({ part: 'grpc' }), host: grpcHost, port: grpcPort }),
    )
    this.#frontEnds.push(grpc)
    const addresses = {
      http: { host, port: http.address.port },
      grpc: { host: grpcHost, port: grpc.address.port },
    }
    this.#log.info(addresses.http, 'HTTP is up')
    this.#log.info(addresses.grpc, 'gRPC is up')
    return addresses
  }

  #onStop(what: string, run: () => Promise<void>): void {
    this.#cleanups.push({ what, run })
  }

  async #takeApart(): Promise<void> {
    const graceMs = this.#settings.graceSecs * 1_000
    await Promise.all([
      this.#attempt('worker', async () => this.#worker?.stop(graceMs)),
      ...this.#frontEnds.map((frontEnd) =>
        this.#attempt('front-end', () => frontEnd.stop(graceMs + ANSWER_MS)),
      ),
    ])
    for (const { what, run } of this.#cleanups.reverse()) await this.#attempt(what, run)
  }

  /** One part that does not stop must not keep the others from it. */
  async #attempt(what: string, run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      this.#log.error({ err: error, what }, 'could not be stopped cleanly')
    }
  }
}

/** What the system refuses to a listener, as a line for the person who chose the address. */
async function listening<T>(flag: string, host: string, port: number, start: () => Promise<T>): Promise<T> {
  try {
    return await start()
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    if (/EADDRINUSE/.test(text)) {
      throw new StartError(
        `port ${port} of ${host} is in use; stop what listens there, or choose another by ${flag}`,
      )
    }
    if (/EACCES|EADDRNOTAVAIL|ENOTFOUND/.test(text)) {
      throw new StartError(`cannot listen on ${host}:${port} (${text}); see --host and ${flag}`)
    }
    throw error
  }
}
