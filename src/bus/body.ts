/**
 * Bodies that are too large for a message (proto/message.ts): one side offers, the other fetches ranges. The same code
 * serves requests and answers, on a connection of their own.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Msg, Subscription } from 'nats'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { BODY_HOLD_MS, BODY_RANGE_BYTES, BODY_WINDOW, type BodyRangeRequest } from '../../proto/message.ts'
import {
  answerHead,
  EMPTY,
  errorOf,
  isNoResponders,
  type Offer,
  parseJson,
  readHead,
  textOf,
} from './codec.ts'
import { busUnavailable, type Link } from './connection.ts'
import type { Logger } from './logger.ts'
import { ReplyInbox } from './reply-inbox.ts'

/** All bodies offered at a time: eight of the largest. Beyond it callers are told to come again. */
export const MAX_HELD_BYTES = 512 * 1024 * 1024
/** All bodies being fetched at a time; their memory is taken before the first byte comes. */
export const MAX_FETCHED_BYTES = 512 * 1024 * 1024
/** One range takes milliseconds; a source that is silent this long has lost the question. */
const RANGE_TIMEOUT_MS = 3_000
/** Asking for a range again is harmless. After a restart of the server the source may come back later than we do. */
const RANGE_ATTEMPTS = 4
const RANGE_PAUSE_MS = 500
const RECONNECT_PATIENCE_MS = 5_000

interface Held {
  content: Uint8Array
  expiry: NodeJS.Timeout
}

export class Bodies {
  readonly #link: Link
  readonly #log: Logger
  readonly #prefix: string
  readonly #answers: ReplyInbox
  readonly #held = new Map<string, Held>()
  #heldBytes = 0
  #fetchedBytes = 0
  #count = 0
  readonly #subscription: Subscription

  constructor(link: Link, log: Logger) {
    this.#link = link
    this.#prefix = `${link.newInbox()}.`
    this.#log = log
    this.#subscription = link.subscribe(`${this.#prefix}*`, (message) => this.#onAsked(message))
    this.#answers = new ReplyInbox(link, () => {})
  }

  /** Holds `content` until it is fetched, withdrawn, or not asked for in BODY_HOLD_MS. Throws `too_many_runs`. */
  offer(content: Uint8Array): string {
    if (this.#heldBytes + content.length > MAX_HELD_BYTES) {
      throw new SandboxError('too_many_runs', 'Too many large bodies are under way.')
    }
    this.#count += 1
    const source = this.#prefix + this.#count.toString(36)
    const expiry = setTimeout(() => this.#expire(source), BODY_HOLD_MS).unref()
    this.#held.set(source, { content, expiry })
    this.#heldBytes += content.length
    return source
  }

  withdraw(source: string): void {
    const held = this.#held.get(source)
    if (held === undefined) return
    clearTimeout(held.expiry)
    this.#held.delete(source)
    this.#heldBytes -= held.content.length
  }

  /** Bytes `from` up to `to` of what is offered. Throws where the source is gone or does not keep to the protocol. */
  async fetch(offer: Offer, from: number, to: number, signal?: AbortSignal): Promise<Uint8Array> {
    const length = to - from
    if (length === 0) return EMPTY
    if (this.#fetchedBytes + length > MAX_FETCHED_BYTES) {
      throw new SandboxError('too_many_runs', 'Too many large bodies are under way.')
    }
    this.#fetchedBytes += length
    try {
      return await this.#fetchRanges(offer.source, from, length, signal)
    } finally {
      this.#fetchedBytes -= length
    }
  }

  /** Tells the source of an offer that nobody will ask for more. */
  done(offer: Offer): void {
    const done: BodyRangeRequest = { done: true }
    if (this.#link.connected) this.#link.nc.publish(offer.source, JSON.stringify(done))
  }

  close(): void {
    this.#subscription.unsubscribe()
    for (const source of [...this.#held.keys()]) this.withdraw(source)
  }

  async #fetchRanges(
    source: string,
    from: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    const content = new Uint8Array(length)
    let next = 0
    let failed = false
    const fetchNext = async () => {
      while (next < length && !failed) {
        signal?.throwIfAborted()
        const offset = next
        next += BODY_RANGE_BYTES
        const range = { offset: from + offset, length: Math.min(BODY_RANGE_BYTES, length - offset) }
        content.set(await this.#askForRange(source, range), offset)
      }
    }
    const stopOthers = (thrown: unknown) => {
      failed = true
      throw thrown
    }
    await Promise.all(Array.from({ length: BODY_WINDOW }, () => fetchNext().catch(stopOthers)))
    return content
  }

  async #askForRange(source: string, range: { offset: number; length: number }): Promise<Uint8Array> {
    const question = JSON.stringify(range satisfies BodyRangeRequest)
    for (let attempt = 1; ; attempt += 1) {
      if (!(await this.#link.untilConnected(RECONNECT_PATIENCE_MS))) {
        throw busUnavailable('The connection to the bus was lost while a body was fetched.')
      }
      const answer = await this.#answerTo(source, question)
      const bytes = answer === undefined ? undefined : rangeIn(answer, range.length)
      if (bytes !== undefined) return bytes
      if (attempt === RANGE_ATTEMPTS) {
        throw new SandboxError('timeout', 'The source of the body does not answer.')
      }
      await sleep(RANGE_PAUSE_MS)
    }
  }

  /** Undefined where none came. */
  #answerTo(source: string, question: string): Promise<Msg | undefined> {
    return new Promise((resolve) => {
      const settle = (answer: Msg | undefined) => {
        clearTimeout(timer)
        sent.forget()
        resolve(answer)
      }
      const timer = setTimeout(() => settle(undefined), RANGE_TIMEOUT_MS)
      const sent = this.#answers.send(source, question, undefined, {
        onFrame: settle,
        onConnectionLost: () => settle(undefined),
      })
    })
  }

  #onAsked(message: Msg): void {
    let question: BodyRangeRequest
    try {
      question = (parseJson(textOf(message.data)) ?? {}) as BodyRangeRequest
      if (question.done === true) this.withdraw(message.subject)
      else message.respond(this.#range(message.subject, question))
    } catch (thrown) {
      const error = SandboxError.from(thrown)
      if (error.code === 'internal') this.#log.error({ err: thrown }, 'a range of a body could not be sent')
      message.respond(JSON.stringify(error.toProblem()), { headers: answerHead('error').asHeaders })
    }
  }

  #range(source: string, { offset, length }: BodyRangeRequest): Uint8Array {
    const held = this.#held.get(source)
    if (held === undefined) throw new SandboxError('timeout', 'The body is not held any more.')
    const { content, expiry } = held
    if (!isWithin(offset, 0, content.length)) throw invalid('offset', `must be 0 to ${content.length}`)
    const max = Math.min(BODY_RANGE_BYTES, content.length - offset)
    if (!isWithin(length, 0, max)) throw invalid('length', `must be 0 to ${max} at offset ${offset}`)
    expiry.refresh()
    return content.subarray(offset, offset + length)
  }

  #expire(source: string): void {
    this.#log.debug({ source }, 'offered body not fetched in time')
    this.withdraw(source)
  }
}

function isWithin(value: unknown, min: number, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max
}

/** Undefined where nobody listens. */
function rangeIn(answer: Msg, length: number): Uint8Array | undefined {
  if (readHead(answer).kind === 'error') throw errorOf(parseJson(textOf(answer.data)))
  if (isNoResponders(answer)) return undefined
  if (answer.data.length !== length) {
    throw new SandboxError('internal', `A range of ${length} bytes came with ${answer.data.length}.`)
  }
  return answer.data
}
