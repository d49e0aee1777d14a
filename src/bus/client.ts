import { headers, type Msg, type MsgHdrs } from 'nats'
import { type ErrorCode, invalid, SandboxError } from '../../proto/errors.ts'
import { type CancelRequest, HEADERS, MAX_ANSWER_BYTES } from '../../proto/message.ts'
import { isSubjectToken, subjects } from '../../proto/subjects.ts'
import type { Answer, BusClient, BusRequest, WorkerInfo } from './api.ts'
import type { Bodies } from './body.ts'
import { EMPTY, errorOf, kindOf, type Packed, pack, parseJson, type Unpacked, unpack } from './codec.ts'
import { type BusConnection, busUnavailable, type Link } from './connection.ts'
import { gatherAnswers } from './gather.ts'
import { abortError, PendingAnswer } from './pending-answer.ts'
import { ReplyInbox, type Sent } from './reply-inbox.ts'
import type { WorkerWatch } from './worker-watch.ts'

/** Requests that wait for an answer; each holds its caller's connection, about 2 KB here, and a timer. */
export const MAX_PENDING_REQUESTS = 16_384
/**
 * After a reconnect the others may still be on their way back: nobody listening means nothing yet. Twice the longest
 * pause between two attempts to reconnect, and some slack.
 */
const RETURN_GRACE_MS = 1_500

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
      const message = await this.#answer(request, packed, unanswered)
      return await this.#read<T>(message, request.signal)
    } finally {
      if (packed.source !== undefined) this.#bodies.withdraw(packed.source)
    }
  }

  async gather<T>(request: BusRequest): Promise<Answer<T>[]> {
    const packed = this.#pack(request)
    try {
      const messages = await gatherAnswers(this.#workers, {
        send: (waiter) => this.#inbox.send(request.subject, packed, waiter),
        signal: request.signal,
        unanswered: () => this.#unanswered('no_worker'),
      })
      return await Promise.all(messages.map((message) => this.#read<T>(message, request.signal)))
    } finally {
      if (packed.source !== undefined) this.#bodies.withdraw(packed.source)
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
        unanswered: () => this.#unanswered(unanswered),
        onSettled: (abandoned) => {
          sent.forget()
          if (abandoned) this.#cancel(tenant, requestId, sent.reply)
        },
      })
      try {
        sent = this.#inbox.send(request.subject, packed, pending)
        pending.start()
      } catch (thrown) {
        reject(thrown)
      }
    })
  }

  #pack(request: BusRequest): Packed {
    if (!this.#link.connected) throw busUnavailable('There is no connection to the message bus.')
    if (this.#inbox.size >= MAX_PENDING_REQUESTS) {
      throw new SandboxError(
        'too_many_runs',
        `${MAX_PENDING_REQUESTS} requests already wait for their answers.`,
      )
    }
    if (request.signal?.aborted) throw abortError(request.signal)
    return pack(requestHead(request), request.args, request.body ?? EMPTY, (content) =>
      this.#bodies.offer(content),
    )
  }

  /** An answer that nobody waits for any more: its body need not be held. */
  #refuseOffer(message: Msg): void {
    if (!message.headers?.has(HEADERS.bodySource)) return
    const { offer } = unpack(message)
    if (offer !== undefined) this.#bodies.done(offer)
  }

  async #read<T>(message: Msg, signal?: AbortSignal): Promise<Answer<T>> {
    const unpacked = unpack(message)
    const answer =
      unpacked.offer === undefined
        ? { value: parseJson(unpacked.json ?? ''), body: unpacked.inline }
        : await this.#fetch(unpacked, unpacked.offer, signal)
    if (kindOf(message) === 'error') throw errorOf(answer.value)
    return answer as Answer<T>
  }

  async #fetch({ json, jsonBytes }: Unpacked, offer: NonNullable<Unpacked['offer']>, signal?: AbortSignal) {
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

  #unanswered(code: ErrorCode): SandboxError {
    if (this.#link.reconnectedWithin(RETURN_GRACE_MS)) {
      return busUnavailable('The message bus has just come back, and not all of its users with it.')
    }
    const detail = code === 'no_worker' ? 'No worker has room for the request.' : 'There is no such session.'
    return new SandboxError(code, detail)
  }

  #cancel(tenant: string, requestId: string, reply: string): void {
    if (!this.#link.connected) return
    const cancel: CancelRequest = { reply }
    this.#link.nc.publish(subjects.cancel(tenant, requestId), JSON.stringify(cancel))
  }
}

function requestHead({ requestId, actor, beats, tenant }: BusRequest): MsgHdrs {
  if (!isSubjectToken(requestId)) throw invalid('request_id', 'must be 1 to 64 letters, digits, `-` or `_`')
  if (!isSubjectToken(tenant)) throw invalid('tenant', 'must be 1 to 64 letters, digits, `-` or `_`')
  const head = headers()
  head.set(HEADERS.requestId, requestId)
  head.set(HEADERS.actor, actor)
  if (beats) head.set(HEADERS.beats, '1')
  return head
}
