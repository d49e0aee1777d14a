import { setImmediate as turnOver } from 'node:timers/promises'
import type { JournalEntry } from '../../actors/session/outside.ts'
import { EVENT_TYPE_PREFIX, type SandboxEvent } from '../../proto/events.ts'
import type { EventLog } from '../bus/api.ts'
import type { Log } from './log.ts'

/**
 * Events of one session that may be under way to the stream at a time: enough for a bulk write's worth behind a slow
 * stream. Beyond it answers wait, and with them the callers who cause the events.
 */
export const MAX_EVENT_BACKLOG = 1_024

/**
 * Sends the events of one session to the stream, in order, without waiting for one before the next: the connection
 * keeps the order. Where the bus was away in between, `sequence` has it.
 */
export class Journal {
  /** Event number → settles when it and all before it have. */
  readonly #underWay = new Map<number, Promise<void>>()
  #last = 0

  constructor(
    readonly events: EventLog,
    readonly log: Log,
    readonly source: string,
  ) {}

  record(entry: JournalEntry): void {
    const { sequence } = entry
    const before = this.#underWay.get(this.#last) ?? Promise.resolve()
    const appended = this.#append(entry)
    // Looked at only after those before it; until then a rejection must not count as unhandled.
    appended.catch(() => {})
    const durable = before.catch(() => {}).then(() => appended)
    this.#last = sequence
    this.#underWay.set(sequence, durable)
    const forget = () => this.#underWay.delete(sequence)
    durable.then(forget, (error: unknown) => {
      forget()
      this.log.error(
        { err: error, session: entry.sessionId, sequence, event: entry.record },
        'event not kept',
      )
    })
  }

  /**
   * In the next turn of the event loop, in order: a command begins, and an answer leaves, before the work of recording
   * it. Nobody is answered sooner for it, because an answer still waits for what it rests on.
   */
  async #append(entry: JournalEntry): Promise<void> {
    await turnOver()
    await this.events.append(toCloudEvent(entry, this.source))
  }

  /** Resolves when the event is in the stream; rejects where it could not be put there. 0 = nothing to wait for. */
  async durable(sequence: number): Promise<void> {
    await this.#underWay.get(sequence)
    const backlogged = this.#underWay.get(this.#last - MAX_EVENT_BACKLOG)
    if (backlogged !== undefined) await backlogged.catch(() => {})
  }

  /** Resolves when nothing is under way any more. */
  async flushed(): Promise<void> {
    await this.#underWay.get(this.#last)?.catch(() => {})
  }
}

function toCloudEvent(entry: JournalEntry, source: string): SandboxEvent {
  const { sessionId, tenant, sequence, at, origin, record } = entry
  return {
    specversion: '1.0',
    id: `${sessionId}.${sequence}`,
    source,
    type: `${EVENT_TYPE_PREFIX}${record.type}`,
    subject: sessionId,
    time: new Date(at).toISOString(),
    datacontenttype: 'application/json',
    tenant,
    sequence,
    ...(origin === null ? {} : { requestid: origin.requestId, actor: origin.actor }),
    data: record.data,
  }
}
