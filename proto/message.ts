/**
 * A bus message: JSON beside raw bytes, never bytes inside JSON.
 *
 *   header Osb-Json present:        it holds the JSON, the content is the body, as it is
 *   header Osb-Json-Bytes present:  that many bytes at the start of the content are the JSON, the rest is the body
 *   neither:                        the content is the JSON (nothing = {}), there is no body
 *
 * The content is the payload, unless it is larger than INLINE_BODY_BYTES: then it is not carried but offered (headers
 * Osb-Body-Source, Osb-Body-Bytes; the payload is empty): the receiver fetches ranges of it from the source's subject,
 * a bounded number at a time, and says when it is done. So requests and answers of any size go through, the receiver
 * sets the pace, and small messages stay fast. A source is always an inbox (see isInbox in subjects.ts), because the
 * receiver publishes to it with its own permissions.
 */
export const HEADERS = {
  json: 'Osb-Json',
  jsonBytes: 'Osb-Json-Bytes',
  /** What an answer is: `result`, `error` (JSON is a problem document) or `beat` (still working). */
  kind: 'Osb-Kind',
  /** Set to `1` by a caller that understands beats: it then gets one every BEAT_INTERVAL_MS until the answer. */
  beats: 'Osb-Beats',
  /** Follows a request from its front-end to init and back. 1 to 64 letters, digits, `-`, `_`. */
  requestId: 'Osb-Request-Id',
  /** Who asks: `http`, `grpc`, `cli`, or the name of a service. */
  actor: 'Osb-Actor',
  bodySource: 'Osb-Body-Source',
  bodyBytes: 'Osb-Body-Bytes',
} as const

const ACTOR = /^[!-~]{1,64}$/

/** Whether `text` may name who asks: 1 to 64 printable ASCII characters without blanks, for logs and events. */
export function isActor(text: string): boolean {
  return ACTOR.test(text)
}

export type AnswerKind = 'result' | 'error' | 'beat'

/** Payloads up to this travel in the message itself; above it they would delay the small ones behind them. */
export const INLINE_BODY_BYTES = 256 * 1024
/** JSON up to this stands in its header; larger JSON beside a body is put in front of the body. */
export const MAX_INLINE_JSON_BYTES = 64 * 1024
/** Largest JSON of a message: a full directory listing takes a quarter of it. */
export const MAX_JSON_BYTES = 64 * 1024 * 1024
/** Largest answer: both output streams of a run at their maximum, and the JSON beside. */
export const MAX_ANSWER_BYTES = 192 * 1024 * 1024
/** One range of an offered body. */
export const BODY_RANGE_BYTES = 128 * 1024
/** Ranges asked for at a time: enough to hide the round trip, too few to fill the connection. */
export const BODY_WINDOW = 8
/** How long an offered body is held after it was last asked for. */
export const BODY_HOLD_MS = 30_000
/** Every two seconds, so that a caller learns within three beats that a worker died. */
export const BEAT_INTERVAL_MS = 2_000
/** Silence after which a caller that asked for beats takes the worker for lost. */
export const BEAT_TIMEOUT_MS = 7_000
/** Longest wait for the answer to a request without beats. */
export const REQUEST_TIMEOUT_MS = 30_000

/**
 * `{offset, length}` asks the source of a body for a range, which is answered with the bytes alone, or with Osb-Kind
 * `error` and a problem document; `{done: true}` lets the body go and is not answered.
 */
export interface BodyRangeRequest {
  offset?: number
  length?: number
  done?: boolean
}

/**
 * Payload of a cancel. `reply` names one request by its reply subject, because a retry may carry the same request id;
 * without it all requests of that id are meant.
 */
export interface CancelRequest {
  reply?: string
}

/** A worker's heartbeat. */
export const WORKER_BEAT_MS = 2_000
/** Silence after which a worker no longer counts: three beats and some slack. */
export const WORKER_LEASE_MS = 7_000
