/** What the rest of src/ sees of the bus. The implementation beside it is the only code that imports `nats`. */
import type { SandboxEvent } from '../../proto/events.ts'

/** JSON beside raw bytes; see proto/message.ts. */
export interface Answer<T = unknown> {
  value: T
  body: Uint8Array
}

export interface BusRequest {
  subject: string
  args: unknown
  body?: Uint8Array
  tenant: string
  requestId: string
  /** Who asks: `http`, `grpc`, `cli`, … */
  actor: string
  /** For what may take long: the worker beats, and silence of BEAT_TIMEOUT_MS is `timeout`. */
  beats?: boolean
  /** An abort rejects at once and tells the worker to cancel what it does for this request. */
  signal?: AbortSignal
}

/**
 * The asking side. Rejects with SandboxError only: the worker's own error; `no_worker` or `session_not_found`
 * (the caller says which, as `unanswered`) where nobody listens; `timeout`; `bus_unavailable` at once while there
 * is no connection; `payload_too_large`.
 */
export interface BusClient {
  request<T>(request: BusRequest, unanswered: 'no_worker' | 'session_not_found'): Promise<Answer<T>>
  /** Asks every live worker and collects their answers. `no_worker` where there is none. */
  gather<T>(request: BusRequest): Promise<Answer<T>[]>
  /** Workers heard of within WORKER_LEASE_MS. */
  workers(): WorkerInfo[]
}

/** Heartbeat of a worker (subjects.workerInfo), every WORKER_BEAT_MS and when asked for a census. */
export interface WorkerInfo {
  id: string
  sessions: number
  max_sessions: number
  running: number
  draining: boolean
  /** The last word of a worker that stops, so that nobody waits for its lease to end. */
  stopped?: boolean
  /** How each limit is enforced there. */
  limits: Record<string, string>
  version: string
}

/** The answering side sees a request before anything of it is checked. */
export interface IncomingRequest {
  subject: string
  args: unknown
  requestId: string
  actor: string
  /** Aborted when the caller cancels. */
  signal: AbortSignal
  /** Fetches the body if it was only offered. `payload_too_large` beyond `maxBytes`. */
  body(maxBytes: number): Promise<Uint8Array>
}

export type Handler = (request: IncomingRequest) => Promise<Answer>

export interface Serving {
  /** Takes no new requests; resolves when those under way are answered. */
  stop(): Promise<void>
}

export interface BusServer {
  /** Answers every request on `subject` with what `handler` resolves to, or with the problem document of what it throws. */
  serve(subject: string, handler: Handler, options?: { queue?: string }): Serving
  /** Publishes without waiting for anybody. */
  publish(subject: string, value: unknown): void
}

/** The event stream. */
export interface EventLog {
  /** Resolves when the stream has the event on disk; retried with the same message id while the bus is away. */
  append(event: SandboxEvent): Promise<void>
  /**
   * Events in stream order, each once. Without `follow` it ends at the event that was the newest when it began.
   * Throws `invalid_argument` for an id that cannot be one, `bus_unavailable` where the stream cannot be read.
   */
  read(options: EventQuery): AsyncIterable<SandboxEvent>
}

export interface EventQuery {
  tenant?: string
  sessionId?: string
  /** Events stored at this time or later, in ms since 1970. */
  sinceMs?: number
  /** Goes on with what comes, and over reconnects, until `signal` aborts. */
  follow: boolean
  signal?: AbortSignal
}
