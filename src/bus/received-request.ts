import type { Msg } from 'nats'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { HEADERS, isActor } from '../../proto/message.ts'
import { isReplySubject, isSubjectToken, parseSubject } from '../../proto/subjects.ts'
import { newRequestId } from '../request-id.ts'
import type { IncomingRequest } from './api.ts'
import type { Bodies } from './body.ts'
import { type IncomingHead, parseJson, readHead, textOf, type Unpacked, unpack } from './codec.ts'

/** Who asks, where a message does not say. */
const UNNAMED_ACTOR = 'nats'

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
  #head: IncomingHead | undefined
  #malformed: unknown
  #unpacked: Unpacked | undefined
  #abort: AbortController | undefined
  #cancelled = false
  #abandoned = false

  /** `reconnects`: of the connection that it came over, at that time. */
  constructor(
    message: Msg,
    bodies: Bodies,
    readonly reconnects: number,
  ) {
    this.#message = message
    this.#bodies = bodies
    this.subject = message.subject
    const { reply } = message
    this.reply = reply !== undefined && reply !== '' && isReplySubject(reply) ? reply : undefined
    try {
      this.#head = readHead(message)
    } catch (thrown) {
      this.#malformed = thrown
    }
    const { beats, requestId } = this.#head ?? { beats: '', requestId: '' }
    this.wantsBeats = this.reply !== undefined && beats === '1'
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

  /** Whether the caller itself cancelled: nobody waits for an answer any more. */
  get abandoned(): boolean {
    return this.#abandoned
  }

  cancel({ byCaller }: { byCaller: boolean }): void {
    this.#cancelled = true
    this.#abandoned ||= byCaller
    this.#abort?.abort()
  }

  /** Checks the headers and reads the arguments, fetching them where they are too large for a message. */
  async read(): Promise<void> {
    if (this.#head === undefined) throw this.#malformed
    this.#checkNames(this.#head)
    const unpacked = unpack(this.#head, this.#message.data)
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

  #checkNames({ requestId, actor }: IncomingHead): void {
    if (requestId !== '' && requestId !== this.requestId) {
      throw invalid(HEADERS.requestId, 'must be 1 to 64 letters, digits, `-` or `_`')
    }
    if (actor === '') return
    if (!isActor(actor)) throw invalid(HEADERS.actor, 'must be 1 to 64 printable characters without blanks')
    this.actor = actor
  }
}
