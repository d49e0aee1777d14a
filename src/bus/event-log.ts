import { setTimeout as sleep } from 'node:timers/promises'
import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamUpdateConfig,
} from 'nats'
import { SandboxError } from '../../proto/errors.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import { EVENT_STREAM, subjects } from '../../proto/subjects.ts'
import type { EventLog, EventQuery } from './api.ts'
import { busUnavailable, type Link } from './connection.ts'
import { readEvents } from './event-reader.ts'
import type { Logger } from './logger.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** Long enough for a monthly audit. */
const EVENTS_MAX_AGE_MS = 30 * DAY_MS
/** About a million events; the oldest go first. Fits the disk that a small server gives JetStream by default. */
const EVENTS_MAX_BYTES = 1024 * 1024 * 1024
/** Must be longer than appending is retried, or a retry could put an event there twice. */
const DUPLICATE_WINDOW_MS = 120_000

/** From the first try of an append to its last: a restart of the server, or a new leader in a cluster (5 s). */
const APPEND_DEADLINE_MS = 30_000
const APPEND_TIMEOUT_MS = 5_000
const APPEND_PAUSE_MIN_MS = 50
const APPEND_PAUSE_MAX_MS = 1_000
/** Events on their way at a time; about 1 KB each. */
const MAX_APPENDS_UNDER_WAY = 65_536

/** Oldest nats-server whose JetStream has what we use. */
const MIN_SERVER_VERSION = [2, 9] as const

export class NatsEventLog implements EventLog {
  readonly #link: Link
  readonly #log: Logger
  readonly #jetStream: JetStreamClient
  #underWay = 0

  constructor(link: Link, log: Logger) {
    this.#link = link
    this.#log = log
    this.#jetStream = link.nc.jetstream()
  }

  /** Creates the stream, or brings it up to date. Throws `bus_unavailable` with the remedy where there is no JetStream. */
  async ensureStream(): Promise<void> {
    requireVersion(this.#link.nc.info?.version ?? '0.0.0')
    try {
      const manager = await this.#link.nc.jetstreamManager()
      const existing = await existingConfig(manager)
      if (existing === undefined) await manager.streams.add(streamConfig())
      else await manager.streams.update(EVENT_STREAM, updatedConfig(existing))
    } catch (thrown) {
      throw busUnavailable(`The event stream ${EVENT_STREAM} cannot be set up: ${remedy(thrown)}`, thrown)
    }
  }

  async append(event: SandboxEvent): Promise<void> {
    if (this.#underWay >= MAX_APPENDS_UNDER_WAY)
      throw busUnavailable('Too many events wait for the event stream.')
    this.#underWay += 1
    try {
      await this.#appendUntilStored(event)
    } finally {
      this.#underWay -= 1
    }
  }

  read(query: EventQuery): AsyncIterable<SandboxEvent> {
    return readEvents(this.#link, this.#jetStream, this.#log, query)
  }

  /** Every try carries the same message id, so that the stream holds the event once however often it arrives. */
  async #appendUntilStored(event: SandboxEvent): Promise<void> {
    const subject = subjects.events(event.tenant, event.subject)
    const payload = JSON.stringify(event)
    const deadline = performance.now() + APPEND_DEADLINE_MS
    for (let pauseMs = APPEND_PAUSE_MIN_MS; ; pauseMs = Math.min(2 * pauseMs, APPEND_PAUSE_MAX_MS)) {
      try {
        return await this.#publish(subject, payload, event.id)
      } catch (thrown) {
        if (!mayPass(thrown)) throw SandboxError.from(thrown)
        if (performance.now() + pauseMs > deadline) {
          throw busUnavailable('The event stream did not take an event in time.', thrown)
        }
        this.#log.debug({ err: thrown, event: event.id }, 'event not stored yet')
      }
      await sleep(pauseMs)
      await this.#link.untilConnected(deadline - performance.now())
    }
  }

  /** Rejects also when the connection is lost, because the client would only wait out its time. */
  async #publish(subject: string, payload: string, id: string): Promise<void> {
    if (!this.#link.connected) throw busUnavailable('There is no connection to the message bus.')
    let stop = () => {}
    const lost = new Promise<never>((_resolve, reject) => {
      stop = this.#link.onLost(() => reject(busUnavailable('The connection to the message bus was lost.')))
    })
    const published = this.#jetStream.publish(subject, payload, { msgID: id, timeout: APPEND_TIMEOUT_MS })
    try {
      await Promise.race([published, lost])
    } finally {
      stop()
    }
  }
}

/** What a later try may find gone: no connection, no leader, no answer. Other refusals stay. */
function mayPass(thrown: unknown): boolean {
  if (thrown instanceof SandboxError) return thrown.code === 'bus_unavailable'
  if (!(thrown instanceof NatsError)) return false
  return thrown.api_error === undefined || thrown.api_error.code >= 500
}

function streamConfig(): Partial<StreamConfig> & { name: string } {
  return {
    name: EVENT_STREAM,
    description: 'What happened in OpenSandbox sessions, as CloudEvents',
    subjects: [subjects.allEvents()],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: nanos(EVENTS_MAX_AGE_MS),
    max_bytes: EVENTS_MAX_BYTES,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    deny_delete: true,
    deny_purge: true,
  }
}

/** Keeps what an operator set: replicas, placement, and bounds that are wider than ours. */
function updatedConfig(existing: StreamConfig): Partial<StreamUpdateConfig> {
  return {
    ...existing,
    subjects: [subjects.allEvents()],
    duplicate_window: Math.max(existing.duplicate_window, nanos(DUPLICATE_WINDOW_MS)),
    max_age: wider(existing.max_age, nanos(EVENTS_MAX_AGE_MS)),
    max_bytes: wider(existing.max_bytes, EVENTS_MAX_BYTES),
    deny_delete: true,
    deny_purge: true,
  }
}

/** 0 and -1 stand for no bound. */
function wider(existing: number, ours: number): number {
  return existing <= 0 ? existing : Math.max(existing, ours)
}

async function existingConfig(manager: JetStreamManager): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(EVENT_STREAM)).config
  } catch (thrown) {
    if (thrown instanceof NatsError && thrown.api_error?.code === 404) return undefined
    throw thrown
  }
}

function requireVersion(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [minMajor, minMinor] = MIN_SERVER_VERSION
  if (major > minMajor || (major === minMajor && minor >= minMinor)) return
  throw busUnavailable(
    `nats-server ${version} is too old; ${MIN_SERVER_VERSION.join('.')} or newer is needed.`,
  )
}

function remedy(thrown: unknown): string {
  const error = thrown as NatsError
  if (error.code === '503' || error.api_error?.err_code === JETSTREAM_NOT_ENABLED_FOR_ACCOUNT) {
    return 'JetStream is not enabled; start nats-server with -js, or with a jetstream block in its configuration.'
  }
  return error.message
}

const JETSTREAM_NOT_ENABLED_FOR_ACCOUNT = 10_039
