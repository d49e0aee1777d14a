/** proto/message.ts to NATS messages and back. */
import type { Msg, MsgHdrs } from 'nats'
import { type ErrorCode, invalid, type Problem, SandboxError } from '../../proto/errors.ts'
import {
  type AnswerKind,
  HEADERS,
  INLINE_BODY_BYTES,
  MAX_INLINE_JSON_BYTES,
  MAX_JSON_BYTES,
} from '../../proto/message.ts'
import { isInbox } from '../../proto/subjects.ts'

/** UTF-8 takes at most three bytes for a UTF-16 unit. */
const MAX_BYTES_PER_UNIT = 3

export const EMPTY = new Uint8Array(0)

/**
 * Headers to be sent. The client library's own look up, canonicalise and copy at every `set`, ten times the cost of
 * this; all it ever asks of headers that it sends is `encode`.
 */
export class OutgoingHead {
  #text = 'NATS/1.0\r\n'

  /** Neither name nor value may contain a line break. */
  set(name: string, value: string): this {
    this.#text += `${name}: ${value}\r\n`
    return this
  }

  encode(): Uint8Array {
    return Buffer.from(`${this.#text}\r\n`)
  }

  get asHeaders(): MsgHdrs {
    return this as unknown as MsgHdrs
  }
}

/** Our headers of a received message; '' where there is none. */
export interface IncomingHead {
  json: string
  jsonBytes: string
  kind: string
  beats: string
  requestId: string
  actor: string
  bodySource: string
  bodyBytes: string
}

/** A fresh one each time, written out: copying an empty one costs ten times as much. */
function emptyHead(): IncomingHead {
  return {
    json: '',
    jsonBytes: '',
    kind: '',
    beats: '',
    requestId: '',
    actor: '',
    bodySource: '',
    bodyBytes: '',
  }
}

const FIELDS = new Map(
  Object.entries(HEADERS).map(([field, name]) => [name as string, field as keyof IncomingHead]),
)

/** Throws `invalid_argument` where the headers are none. */
export function readHead(message: Msg): IncomingHead {
  let received: MsgHdrs | undefined
  try {
    received = message.headers
  } catch (thrown) {
    throw new SandboxError('invalid_argument', 'The headers of the message are malformed.', { cause: thrown })
  }
  const head = emptyHead()
  if (received === undefined) return head
  for (const [name, [value = '']] of received) {
    const field = FIELDS.get(name)
    if (field !== undefined) head[field] = value
  }
  return head
}

/** A message ready to be published. */
export interface Packed {
  payload: Uint8Array
  head: OutgoingHead
  /** The offer made for it, to be withdrawn when nobody will fetch it any more. */
  source: string | undefined
}

/** Content that is too large for the message, and where to fetch it. */
export interface Offer {
  source: string
  bytes: number
}

/** A message as received: its parts found, nothing parsed or fetched yet. */
export interface Unpacked {
  /** Undefined where the JSON is the first `jsonBytes` of the offer. */
  json: string | undefined
  jsonBytes: number
  /** The body, where the message carries it itself. */
  inline: Uint8Array
  offer: Offer | undefined
}

/**
 * Adds JSON and body to `head`, the message's other headers. `offer` is given content that is too large for the
 * message and returns the subject to fetch it from. Throws `payload_too_large`.
 */
export function pack(
  head: OutgoingHead,
  value: unknown,
  body: Uint8Array,
  offer: (content: Uint8Array) => string,
): Packed {
  const content = packContent(head, JSON.stringify(value) ?? '{}', body)
  if (content.length <= INLINE_BODY_BYTES) return { payload: content, head, source: undefined }
  const source = offer(content)
  head.set(HEADERS.bodySource, source)
  head.set(HEADERS.bodyBytes, String(content.length))
  return { payload: EMPTY, head, source }
}

function packContent(head: OutgoingHead, json: string, body: Uint8Array): Uint8Array {
  if (body.length > 0 && fitsHeader(json)) {
    // JSON has no line breaks outside of strings, and escapes them inside.
    head.set(HEADERS.json, json)
    return body
  }
  const jsonBytes = Buffer.from(json)
  if (jsonBytes.length > MAX_JSON_BYTES) {
    const detail = `JSON of ${jsonBytes.length} bytes; at most ${MAX_JSON_BYTES} go through.`
    throw new SandboxError('payload_too_large', detail)
  }
  if (body.length === 0) return jsonBytes
  head.set(HEADERS.jsonBytes, String(jsonBytes.length))
  return Buffer.concat([jsonBytes, body])
}

function fitsHeader(json: string): boolean {
  if (json.length * MAX_BYTES_PER_UNIT <= MAX_INLINE_JSON_BYTES) return true
  return json.length <= MAX_INLINE_JSON_BYTES && Buffer.byteLength(json) <= MAX_INLINE_JSON_BYTES
}

/** Throws `invalid_argument` where the headers contradict themselves. */
export function unpack(head: IncomingHead, payload: Uint8Array): Unpacked {
  const offer = offerOf(head, payload)
  if (head.json !== '') return { json: head.json, jsonBytes: 0, inline: payload, offer }
  const contentBytes = offer?.bytes ?? payload.length
  const jsonBytes = byteCount(head, 'jsonBytes', contentBytes) ?? contentBytes
  if (jsonBytes > MAX_JSON_BYTES) {
    const detail = `JSON of ${jsonBytes} bytes; at most ${MAX_JSON_BYTES} go through.`
    throw new SandboxError('payload_too_large', detail)
  }
  if (offer !== undefined) return { json: undefined, jsonBytes, inline: EMPTY, offer }
  const json = textOf(payload.subarray(0, jsonBytes))
  return { json, jsonBytes: 0, inline: payload.subarray(jsonBytes), offer }
}

function offerOf(head: IncomingHead, payload: Uint8Array): Offer | undefined {
  const { bodySource: source } = head
  if (source === '') return undefined
  if (!isInbox(source)) throw invalid(HEADERS.bodySource, 'must be an inbox subject')
  if (payload.length > 0) {
    throw invalid(HEADERS.bodySource, 'the payload must be empty where content is offered')
  }
  const bytes = byteCount(head, 'bodyBytes', Number.MAX_SAFE_INTEGER)
  if (bytes === undefined) throw invalid(HEADERS.bodyBytes, 'is needed where content is offered')
  return { source, bytes }
}

function byteCount(head: IncomingHead, field: 'jsonBytes' | 'bodyBytes', max: number): number | undefined {
  const text = head[field]
  if (text === '') return undefined
  const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(count <= max)) throw invalid(HEADERS[field], `must be a whole number of bytes up to ${max}`)
  return count
}

/** Throws `invalid_argument`. */
export function parseJson(json: string): unknown {
  if (json === '') return {}
  try {
    return JSON.parse(json)
  } catch (thrown) {
    throw new SandboxError('invalid_argument', `The message is not JSON: ${(thrown as Error).message}`)
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function textOf(bytes: Uint8Array): string {
  if (bytes.length === 0) return ''
  try {
    return decoder.decode(bytes)
  } catch {
    throw new SandboxError('invalid_argument', 'The message is not JSON: it is not UTF-8.')
  }
}

export function answerHead(kind: AnswerKind): OutgoingHead {
  return new OutgoingHead().set(HEADERS.kind, kind)
}

/** Whether the server says that nobody listens where the request went. */
export function isNoResponders(message: Msg): boolean {
  return message.data.length === 0 && message.headers?.code === 503
}

/** The error that a problem document tells of, `internal` where it is none. */
export function errorOf(value: unknown): SandboxError {
  const problem = value as Partial<Problem> | null
  if (typeof problem?.code === 'string' && typeof problem.detail === 'string') {
    return SandboxError.fromProblem(problem as Problem & { code: ErrorCode })
  }
  return new SandboxError('internal', 'The answer is an error without a problem document.')
}
