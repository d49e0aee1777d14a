import { setTimeout as sleep } from 'node:timers/promises'
import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  nanos,
  ReplayPolicy,
} from 'nats'
import { invalid, SandboxError } from '../../proto/errors.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import { EVENT_STREAM, isSubjectToken, subjects } from '../../proto/subjects.ts'
import type { EventQuery } from './api.ts'
import { busUnavailable, type Link } from './connection.ts'
import type { Logger } from './logger.ts'

/** Events asked for at a time: bounds what waits here for a slow reader. */
const PAGE_EVENTS = 256
/** How long the server waits for the first event of a page. */
const PAGE_WAIT_MS = 5_000
/** A page may hang past its wait when its end is lost; then this ends it. */
const PAGE_SLACK_MS = 2_000
/** The server forgets a reader that has not asked for this long, such as one that died. */
const IDLE_READER_MS = 60_000
/** Reading is taken up again where it stopped, this often in a row without an event in between. */
const MAX_RESUMES = 30
const RESUME_PAUSE_MS = 500
const RECONNECT_PATIENCE_MS = 30_000

interface Reader {
  consumer: Consumer
  /** Events that it had ahead of it when it was made. */
  pending: number
  close(): Promise<void>
}

/** What has been read, and up to where to read. */
interface Progress {
  /** Stream sequence of the last event that was given out. */
  last: number
  /** Of the newest event at the start; Infinity when following. */
  end: number
}

export async function* readEvents(
  link: Link,
  jetStream: JetStreamClient,
  log: Logger,
  query: EventQuery,
): AsyncGenerator<SandboxEvent, void, undefined> {
  const filter = filterSubject(query)
  const progress: Progress = { last: 0, end: Number.POSITIVE_INFINITY }
  let resumes = 0
  while (!query.signal?.aborted) {
    const before = progress.last
    try {
      const manager = await jetStream.jetstreamManager()
      if (!query.follow && progress.end === Number.POSITIVE_INFINITY) {
        progress.end = (await manager.streams.info(EVENT_STREAM)).state.last_seq
      }
      yield* readOn(link, jetStream, manager, filter, query, progress)
      return
    } catch (thrown) {
      if (thrown instanceof SandboxError && thrown.code !== 'bus_unavailable') throw thrown
      resumes = progress.last > before ? 0 : resumes + 1
      if (resumes > MAX_RESUMES || isMissing(thrown)) {
        throw busUnavailable(`The event stream cannot be read: ${(thrown as Error).message}`, thrown)
      }
      log.debug({ err: thrown }, 'reading events is taken up again')
      await pause(link, query.signal)
    }
  }
}

/** Reads from behind `progress.last` until the end, or throws when the reader is lost. */
async function* readOn(
  link: Link,
  jetStream: JetStreamClient,
  manager: JetStreamManager,
  filter: string,
  query: EventQuery,
  progress: Progress,
): AsyncGenerator<SandboxEvent, void, undefined> {
  const reader = await openReader(jetStream, manager, filter, query, progress.last)
  try {
    let pending = reader.pending
    while (query.follow || (pending > 0 && progress.last < progress.end)) {
      let delivered = 0
      for await (const message of page(link, reader.consumer, query.signal)) {
        const { streamSequence } = message.info
        pending = message.info.pending
        delivered += 1
        if (streamSequence > progress.end) return
        progress.last = streamSequence
        // A server that is asked for a time behind its last message may give all of them instead of none.
        const isOld = query.sinceMs !== undefined && message.info.timestampNanos < nanos(query.sinceMs)
        if (!isOld) yield message.json<SandboxEvent>()
        if (!query.follow && (pending === 0 || streamSequence === progress.end)) return
      }
      if (query.signal?.aborted) return
      if (delivered === 0) pending = (await reader.consumer.info()).num_pending
    }
  } finally {
    await reader.close()
  }
}

/** One page; ends also when the connection is lost or the caller has had enough. */
async function* page(
  link: Link,
  consumer: Consumer,
  signal: AbortSignal | undefined,
): AsyncGenerator<JsMsg, void, undefined> {
  if (!link.connected) throw busUnavailable('There is no connection to the message bus.')
  const messages = await consumer.fetch({ max_messages: PAGE_EVENTS, expires: PAGE_WAIT_MS })
  // What was delivered and not read yet is dropped when stopped, so that reading has to be taken up anew.
  let cut: string | undefined
  const cutOff = (reason: string) => {
    cut ??= reason
    messages.stop()
  }
  const onAbort = () => messages.stop()
  const watchdog = setTimeout(() => cutOff('The page did not end.'), PAGE_WAIT_MS + PAGE_SLACK_MS)
  const stopWatching = link.onLost(() => cutOff('The connection to the message bus was lost.'))
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  try {
    for await (const message of messages) {
      yield message
      watchdog.refresh()
    }
  } finally {
    clearTimeout(watchdog)
    stopWatching()
    signal?.removeEventListener('abort', onAbort)
    messages.stop()
  }
  if (cut !== undefined) throw busUnavailable(cut)
}

async function openReader(
  jetStream: JetStreamClient,
  manager: JetStreamManager,
  filter: string,
  { sinceMs }: EventQuery,
  last: number,
): Promise<Reader> {
  const info = await manager.consumers.add(EVENT_STREAM, {
    ack_policy: AckPolicy.None,
    replay_policy: ReplayPolicy.Instant,
    filter_subject: filter,
    inactive_threshold: nanos(IDLE_READER_MS),
    mem_storage: true,
    ...startOf(sinceMs, last),
  })
  return {
    consumer: await jetStream.consumers.get(EVENT_STREAM, info.name),
    pending: info.num_pending,
    // The server forgets it anyway, later.
    close: async () => void (await manager.consumers.delete(EVENT_STREAM, info.name).catch(() => {})),
  }
}

function startOf(sinceMs: number | undefined, last: number) {
  if (last > 0) return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: last + 1 }
  if (sinceMs === undefined) return { deliver_policy: DeliverPolicy.All }
  return { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(sinceMs).toISOString() }
}

function filterSubject({ tenant, sessionId }: EventQuery): string {
  if (tenant !== undefined && !isSubjectToken(tenant))
    throw invalid('tenant', 'cannot be the name of a tenant')
  if (sessionId !== undefined && !isSubjectToken(sessionId)) {
    throw invalid('session_id', 'cannot be the id of a session')
  }
  if (sessionId !== undefined) {
    return tenant === undefined ? subjects.eventsOfSession(sessionId) : subjects.events(tenant, sessionId)
  }
  return tenant === undefined ? subjects.allEvents() : subjects.eventsOfTenant(tenant)
}

/** The stream itself does not exist, or there is no JetStream. */
function isMissing(thrown: unknown): boolean {
  return (thrown as { api_error?: { code: number } }).api_error?.code === 404
}

async function pause(link: Link, signal: AbortSignal | undefined): Promise<void> {
  await sleep(RESUME_PAUSE_MS, undefined, signal === undefined ? {} : { signal }).catch(() => {})
  if (!signal?.aborted) await link.untilConnected(RECONNECT_PATIENCE_MS)
}
