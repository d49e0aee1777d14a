import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ConnectionOptions,
  connect,
  createInbox,
  Events,
  type Msg,
  type NatsConnection,
  NatsError,
  type Subscription,
} from 'nats'
import { SandboxError } from '../../proto/errors.ts'
import { INLINE_BODY_BYTES, MAX_INLINE_JSON_BYTES } from '../../proto/message.ts'
import { inboxPrefix } from '../../proto/subjects.ts'
import type { Logger } from './logger.ts'

/** First connect: long enough for a nats-server that starts beside us, short enough for a person who waits. */
const CONNECT_DEADLINE_MS = 10_000
const CONNECT_ATTEMPT_MS = 2_000
const CONNECT_PAUSE_MS = 250
/** At run time we reconnect forever; the jitter keeps many gateways from coming back in one instant. */
const RECONNECT_MIN_MS = 100
const RECONNECT_JITTER_MS = 300
/** Three times the longest pause between two attempts, and some slack: by then all who were cut off are back. */
const RETURN_GRACE_MS = 1_500
/** A peer that vanished without closing the socket is noticed after two unanswered pings. */
const PING_INTERVAL_MS = 5_000
const MAX_PINGS_OUT = 2
/** What we still have to say when we close; a server that does not take it by then is gone. */
const CLOSE_FLUSH_MS = 2_000
/** Headers beside JSON and body: names, ids and the protocol line. */
const HEADER_ALLOWANCE_BYTES = 4_096
const MIN_MAX_PAYLOAD_BYTES = INLINE_BODY_BYTES + MAX_INLINE_JSON_BYTES + HEADER_ALLOWANCE_BYTES

export interface ConnectOptions {
  /** `nats://[user:password@ or token@]host:port`, several separated by commas; `tls://` for TLS. */
  url: string
  /** Shown in the server's list of connections. */
  name: string
  log: Logger
}

/**
 * Two connections to the bus: bodies in bulk have one of their own, because on a shared one every small request would
 * wait behind them (0.3 ms becomes 3 to 23 ms).
 */
export interface BusConnection {
  readonly requests: Link
  readonly bulk: Link
  /** Sends what is left to send, then disconnects. */
  close(): Promise<void>
}

/** Throws `bus_unavailable` with the reason where no server can be reached in ten seconds. */
export async function connectBus(options: ConnectOptions): Promise<BusConnection> {
  const requests = await openLink(options, 'requests')
  try {
    const bulk = await openLink(options, 'bulk')
    return {
      requests,
      bulk,
      close: async () => void (await Promise.all([requests.close(), bulk.close()])),
    }
  } catch (thrown) {
    await requests.close()
    throw thrown
  }
}

/** One connection, whose state is known without asking it: what is published while it is down would be lost. */
export class Link {
  readonly nc: NatsConnection
  readonly #inboxPrefix: string
  readonly #log: Logger
  readonly #onLost = new Set<() => void>()
  readonly #onBack = new Set<() => void>()
  #connected = true
  #reconnects = 0
  #reconnectedAt = Number.NEGATIVE_INFINITY

  constructor(nc: NatsConnection, inboxPrefix: string, log: Logger) {
    this.nc = nc
    this.#inboxPrefix = inboxPrefix
    this.#log = log
    void this.#watch()
    void nc.closed().then((reason) => {
      if (reason instanceof Error) log.error({ err: reason }, 'bus connection closed for good')
      this.#lost()
    })
  }

  get connected(): boolean {
    return this.#connected
  }

  /** A new subject, to be continued by `.` and a token, that only this connection's user listens to. */
  newInbox(): string {
    return createInbox(this.#inboxPrefix)
  }

  /** How often it has come back: what was received at another count came over an earlier connection. */
  get reconnects(): number {
    return this.#reconnects
  }

  /** After a reconnect: how long others may still be on their way back, and not be heard or hear. */
  get othersAwayMs(): number {
    return Math.max(0, this.#reconnectedAt + RETURN_GRACE_MS - performance.now())
  }

  /**
   * Nothing that `onMessage` throws gets out: in the client library it would end the loop that reads the connection,
   * and malformed headers throw when they are looked at.
   */
  subscribe(
    subject: string,
    onMessage: (message: Msg) => void,
    options: { queue?: string } = {},
  ): Subscription {
    return this.nc.subscribe(subject, {
      ...options,
      callback: (error, message) => {
        try {
          if (error === null) onMessage(message)
          else this.#log.error({ err: error, subject }, 'subscription refused')
        } catch (thrown) {
          this.#log.warn({ err: thrown, subject: message.subject }, 'message not understood')
        }
      },
    })
  }

  /** Calls `listener` each time the connection is lost, also for good. Returns what stops that. */
  onLost(listener: () => void): () => void {
    this.#onLost.add(listener)
    return () => this.#onLost.delete(listener)
  }

  /** Calls `listener` each time the connection is back. Returns what stops that. */
  onBack(listener: () => void): () => void {
    this.#onBack.add(listener)
    return () => this.#onBack.delete(listener)
  }

  /** Whether it is connected now or again within `timeoutMs`. */
  async untilConnected(timeoutMs: number): Promise<boolean> {
    if (this.#connected || this.nc.isClosed()) return this.#connected
    return new Promise((resolve) => {
      const settle = (connected: boolean) => {
        clearTimeout(timer)
        stop()
        resolve(connected)
      }
      const timer = setTimeout(() => settle(false), timeoutMs)
      const stop = this.onBack(() => settle(true))
    })
  }

  async close(): Promise<void> {
    const patience = new AbortController()
    const flushed = this.#connected ? this.nc.flush().catch(() => {}) : Promise.resolve()
    await Promise.race([flushed, sleep(CLOSE_FLUSH_MS, undefined, patience).catch(() => {})])
    patience.abort()
    await this.nc.close()
    this.#lost()
  }

  async #watch(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === Events.Disconnect) this.#lost()
      else if (status.type === Events.Reconnect) this.#back()
      else if (status.type === Events.Error) this.#log.warn({ code: status.data }, 'bus connection error')
    }
  }

  #lost(): void {
    if (!this.#connected) return
    this.#connected = false
    if (!this.nc.isClosed()) this.#log.warn({}, 'bus connection lost, reconnecting')
    for (const listener of [...this.#onLost]) listener()
  }

  #back(): void {
    if (this.#connected) return
    this.#connected = true
    this.#reconnects += 1
    this.#reconnectedAt = performance.now()
    this.#log.info({ server: this.nc.getServer() }, 'bus connection is back')
    for (const listener of [...this.#onBack]) listener()
  }
}

export function busUnavailable(detail: string, cause?: unknown): SandboxError {
  return new SandboxError('bus_unavailable', detail, { cause })
}

async function openLink(options: ConnectOptions, purpose: string): Promise<Link> {
  const { log, name } = options
  const connectionOptions = parseUrl(options.url)
  const deadline = performance.now() + CONNECT_DEADLINE_MS
  for (;;) {
    try {
      const nc = await connect({
        ...connectionOptions,
        inboxPrefix: inboxPrefix(connectionOptions.user),
        name: `${name} ${purpose}`,
        timeout: CONNECT_ATTEMPT_MS,
        maxReconnectAttempts: -1,
        ignoreAuthErrorAbort: true,
        reconnectDelayHandler: () => RECONNECT_MIN_MS + Math.random() * RECONNECT_JITTER_MS,
        pingInterval: PING_INTERVAL_MS,
        maxPingOut: MAX_PINGS_OUT,
        // A stack trace for each request would cost more than encoding it.
        noAsyncTraces: true,
      })
      return await checked(nc, connectionOptions.user, log)
    } catch (thrown) {
      if (thrown instanceof SandboxError) throw thrown
      const refused = thrown instanceof NatsError && thrown.isAuthError()
      if (refused || performance.now() + CONNECT_PAUSE_MS > deadline) {
        const servers = connectionOptions.servers.join(', ')
        throw busUnavailable(`Cannot connect to NATS at ${servers}: ${messageOf(thrown)}`, thrown)
      }
      log.debug({ err: thrown }, 'bus not reachable yet')
      await sleep(CONNECT_PAUSE_MS)
    }
  }
}

async function checked(nc: NatsConnection, user: string | undefined, log: Logger): Promise<Link> {
  const maxPayload = nc.info?.max_payload ?? 0
  if (maxPayload >= MIN_MAX_PAYLOAD_BYTES) return new Link(nc, inboxPrefix(user), log)
  await nc.close()
  throw busUnavailable(
    `NATS has max_payload ${maxPayload}; set it to at least ${MIN_MAX_PAYLOAD_BYTES} (1MB).`,
  )
}

/** The client takes credentials as options only, and would drop them silently from an address. */
function parseUrl(urls: string): Omit<ConnectionOptions, 'servers'> & { servers: string[] } {
  const parsed = urls.split(',').map((text) => {
    const url = text.trim()
    return new URL(url.includes('://') ? url : `nats://${url}`)
  })
  const credentials = parsed.find(({ username }) => username !== '')
  return {
    servers: parsed.map(({ host }) => host),
    ...(parsed.some(({ protocol }) => protocol === 'tls:') ? { tls: {} } : {}),
    ...(credentials === undefined ? {} : credentialsOf(credentials)),
  }
}

function credentialsOf({ username, password }: URL): Pick<ConnectionOptions, 'token' | 'user' | 'pass'> {
  const user = decodeURIComponent(username)
  return password === '' ? { token: user } : { user, pass: decodeURIComponent(password) }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
