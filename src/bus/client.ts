import { setTimeout as sleep } from 'node:timers/promises'
import type { Msg } from 'nats'
import { type ErrorCode, invalid, SandboxError } from '../../proto/errors.ts'
import { type CancelRequest, HEADERS, isActor, MAX_ANSWER_BYTES } from '../../proto/message.ts'
import { isSubjectToken, subjects } from '../../proto/subjects.ts'
import type { Answer, BusClient, BusRequest, WorkerInfo } from './api.ts'
import type { Bodies } from './body.ts'
import {
  EMPTY,
  errorOf,
  type IncomingHead,
  type Offer,
  OutgoingHead,
  type Packed,
  pack,
  parseJson,
  readHead,
  type Unpacked,
  unpack,
} from './codec.ts'
import { type BusConnection, busUnavailable, type Link } from './connection.ts'
import { gatherAnswers } from './gather.ts'
import { abortError, PendingAnswer } from './pending-answer.ts'
import { ReplyInbox, type Sent } from './reply-inbox.ts'
import type { WorkerWatch } from './worker-watch.ts'

/** Requests that wait for an answer; each holds its caller's connection, about 2 KB here, and a timer. */
export const MAX_PENDING_REQUESTS = 16_384
/** Between two tries to reach those who are on their way back. */
const RESEND_PAUSE_MS = 100

export class NatsBusClient implements BusClient {
  readonly #link: Link
  readonly #bodies: Bodies
  readonly #workers: WorkerWatch
  readonly #inbox: ReplyInbox

  constructor(connection: BusConnection, bodies: Bodies, workers: WorkerWatch) {
    this.#link = connection.requests
    this.#bodies = bodies
    this.#workers = workers
    this.#inbox = new ReplyInbox(this.#link, (message) => this.#refuseOffer(message))
  }

  workers(): WorkerInfo[] {
    return this.#workers.live()
  }

  async request<T>(request: BusRequest, unanswered: 'no_worker' | 'session_not_found'): Promise<Answer<T>> {
    const packed = this.#pack(request)
    try {
      const message = await this.#answerOfThoseBack(request, packed, unanswered)
      return await this.#read<T>(message, request.signal)
    } finally {
      if (packed.source !== undefined) this.#bodies.withdraw(packed.source)
    }
  }

  async gather<T>(request: BusRequest): Promise<Answer<T>[]> {
    // Sent now, it would miss those who are on their way back.
    if (this.#link.othersAwayMs > 0) await sleep(this.#link.othersAwayMs)
    const packed = this.#pack(request)
    try {
      const messages = await gatherAnswers(this.#workers, {
        send: (waiter) => this.#inbox.send(request.subject, packed.payload, packed.head, waiter),
        signal: request.signal,
        unanswered: () => new UnansweredError('no_worker'),
      })
      return await Promise.all(messages.map((message) => this.#read<T>(message, request.signal)))
    } finally {
      if (packed.source !== undefined) this.#bodies.withdraw(packed.source)
    }
  }

  /**
   * Just after a reconnect, nobody listening does not mean that nobody is there: those who were cut off as well may be
   * on their way back. Nobody has had the request, so it can be sent again.
   */
  async #answerOfThoseBack(request: BusRequest, packed: Packed, unanswered: ErrorCode): Promise<Msg> {
    for (;;) {
      const mayBeAway = this.#link.othersAwayMs > 0
      try {
        return await this.#answer(request, packed, unanswered)
      } catch (thrown) {
        if (!mayBeAway || !(thrown instanceof UnansweredError)) throw thrown
      }
      await sleep(RESEND_PAUSE_MS)
      this.#requireReadiness(request)
    }
  }

  /** Resolves with the frame that ends the request. */
  #answer(request: BusRequest, packed: Packed, unanswered: ErrorCode): Promise<Msg> {
    const { tenant, requestId, beats = false, signal } = request
    return new Promise((resolve, reject) => {
      let sent: Sent
      const pending = new PendingAnswer({
        beats,
        signal,
        resolve,
        reject,
        unanswered: () => new UnansweredError(unanswered),
        onSettled: (abandoned) => {
          sent.forget()
          if (abandoned) this.#cancel(tenant, requestId, sent.reply)
        },
      })
      try {
        sent = this.#inbox.send(request.subject, packed.payload, packed.head, pending)
        pending.start()
      } catch (thrown) {
        reject(busUnavailable('The request could not be sent.', thrown))
      }
    })
  }

  #pack(request: BusRequest): Packed {
    this.#requireReadiness(request)
    const head = requestHead(request)
    return pack(head, request.args, request.body ?? EMPTY, (content) => this.#bodies.offer(content))
  }

  #requireReadiness({ signal }: BusRequest): void {
    if (signal?.aborted) throw abortError(signal)
    if (!this.#link.connected) throw busUnavailable('There is no connection to the message bus.')
    if (this.#inbox.size >= MAX_PENDING_REQUESTS) {
      const detail = `${MAX_PENDING_REQUESTS} requests already wait for their answers.`
      throw new SandboxError('too_many_runs', detail)
    }
  }

  /** An answer that nobody waits for any more: its body need not be held. */
  #refuseOffer(message: Msg): void {
    const { offer } = unpack(readHead(message), message.data)
    if (offer !== undefined) this.#bodies.done(offer)
  }

  async #read<T>(message: Msg, signal?: AbortSignal): Promise<Answer<T>> {
    const head = readHead(message)
    const answer = await this.#readContent(head, message, signal).catch((thrown: unknown) => {
      throw blameAnswerer(thrown)
    })
    if (head.kind === 'error') throw errorOf(answer.value)
    return answer as Answer<T>
  }

  async #readContent(head: IncomingHead, message: Msg, signal?: AbortSignal): Promise<Answer> {
    const unpacked = unpack(head, message.data)
    if (unpacked.offer !== undefined) return this.#fetch(unpacked, unpacked.offer, signal)
    return { value: parseJson(unpacked.json ?? ''), body: unpacked.inline }
  }

  async #fetch({ json, jsonBytes }: Unpacked, offer: Offer, signal?: AbortSignal): Promise<Answer> {
    try {
      if (offer.bytes > MAX_ANSWER_BYTES) {
        throw new SandboxError(
          'payload_too_large',
          `The answer has ${offer.bytes} bytes; at most ${MAX_ANSWER_BYTES}.`,
        )
      }
      const content = await this.#bodies.fetch(offer, 0, offer.bytes, signal)
      if (json !== undefined) return { value: parseJson(json), body: content }
      const text = Buffer.from(content.buffer, content.byteOffset, jsonBytes).toString()
      return { value: parseJson(text), body: content.subarray(jsonBytes) }
    } catch (thrown) {
      throw signal?.aborted ? abortError(signal) : thrown
    } finally {
      this.#bodies.done(offer)
    }
  }

  #cancel(tenant: string, requestId: string, reply: string): void {
    if (!this.#link.connected) return
    const cancel: CancelRequest = { reply }
    this.#link.nc.publish(subjects.cancel(tenant, requestId), JSON.stringify(cancel))
  }
}

/** Nobody listens where the request went. */
class UnansweredError extends SandboxError {
  constructor(code: ErrorCode) {
    super(code, code === 'no_worker' ? 'No worker has room for the request.' : 'There is no such session.')
  }
}

/** What the answering side got wrong must not look like a fault of the caller's. */
function blameAnswerer(thrown: unknown): SandboxError {
  if (thrown instanceof SandboxError && thrown.code !== 'invalid_argument') return thrown
  return new SandboxError('internal', 'The answer cannot be read.', { cause: thrown })
}

function requestHead({ requestId, actor, beats, tenant }: BusRequest): OutgoingHead {
  if (!isSubjectToken(requestId)) throw invalid('request_id', 'must be 1 to 64 letters, digits, `-` or `_`')
  if (!isSubjectToken(tenant)) throw invalid('tenant', 'must be 1 to 64 letters, digits, `-` or `_`')
  if (!isActor(actor)) throw invalid('actor', 'must be 1 to 64 printable characters without blanks')
  const head = new OutgoingHead().set(HEADERS.requestId, requestId).set(HEADERS.actor, actor)
  return beats ? head.set(HEADERS.beats, '1') : head
}
