import type { Msg } from 'nats'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { HEADERS } from '../../proto/message.ts'
import { isReplySubject, isSubjectToken, parseSubject } from '../../proto/subjects.ts'
import { newRequestId } from '../request-id.ts'
import type { IncomingRequest } from './api.ts'
import type { Bodies } from './body.ts'
import { parseJson, textOf, type Unpacked, unpack } from './codec.ts'

/** Who asks, where a message does not say. */
const UNNAMED_ACTOR = 'nats'
/** Printable, so that it can stand in logs and events. */
const ACTOR = /^[!-~]{1,64}$/

/** A request as it came from the bus; nothing in it is trusted until `read` has looked at it. */
export class ReceivedRequest implements IncomingRequest {
  readonly subject: string
  /** Undefined where the caller wants no answer. */
  readonly reply: string | undefined
  readonly wantsBeats: boolean
  readonly requestId: string
  args: unknown
  actor = UNNAMED_ACTOR
  readonly #message: Msg
  readonly #bodies: Bodies
  #unpacked: Unpacked | undefined
  #abort: AbortController | undefined
  #cancelled = false

  constructor(message: Msg, bodies: Bodies) {
    const head = message.headers
    this.#message = message
    this.#bodies = bodies
    this.subject = message.subject
    const { reply } = message
    this.reply = reply !== undefined && reply !== '' && isReplySubject(reply) ? reply : undefined
    this.wantsBeats = this.reply !== undefined && head?.get(HEADERS.beats) === '1'
    const requestId = head?.get(HEADERS.requestId) ?? ''
    this.requestId = isSubjectToken(requestId) ? requestId : newRequestId()
  }

  get tenant(): string | undefined {
    return parseSubject(this.subject)?.tenant
  }

  get signal(): AbortSignal {
    // Made when asked for, because making one costs more than reading the whole message.
    this.#abort ??= new AbortController()
    if (this.#cancelled) this.#abort.abort()
    return this.#abort.signal
  }

  get cancelled(): boolean {
    return this.#cancelled
  }

  cancel(): void {
    this.#cancelled = true
    this.#abort?.abort()
  }

  /** Checks the headers and reads the arguments, fetching them where they are too large for a message. */
  async read(): Promise<void> {
    this.#checkNames()
    const unpacked = unpack(this.#message)
    this.#unpacked = unpacked
    const { json, jsonBytes, offer } = unpacked
    if (json !== undefined) this.args = parseJson(json)
    else if (offer !== undefined) {
      const bytes = await this.#bodies.fetch(offer, 0, jsonBytes, this.signal)
      this.args = parseJson(textOf(bytes))
    }
  }

  /** Tells the source of the body that nothing more of it is needed. */
  letGo(): void {
    const offer = this.#unpacked?.offer
    if (offer !== undefined) this.#bodies.done(offer)
  }

  async body(maxBytes: number): Promise<Uint8Array> {
    const { inline, offer, jsonBytes } = this.#unpacked as Unpacked
    const bytes = offer === undefined ? inline.length : offer.bytes - jsonBytes
    if (bytes > maxBytes) {
      throw new SandboxError(
        'payload_too_large',
        `The body has ${bytes} bytes; at most ${maxBytes} are taken.`,
      )
    }
    if (offer === undefined) return inline
    return this.#bodies.fetch(offer, jsonBytes, offer.bytes, this.signal)
  }

  #checkNames(): void {
    const head = this.#message.headers
    if (head === undefined) return
    const requestId = head.get(HEADERS.requestId)
    if (requestId !== '' && requestId !== this.requestId) {
      throw invalid(HEADERS.requestId, 'must be 1 to 64 letters, digits, `-` or `_`')
    }
    const actor = head.get(HEADERS.actor)
    if (actor === '') return
    if (!ACTOR.test(actor))
      throw invalid(HEADERS.actor, 'must be 1 to 64 printable characters without blanks')
    this.actor = actor
  }
}
