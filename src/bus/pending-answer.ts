import type { Msg } from 'nats'
import { SandboxError } from '../../proto/errors.ts'
import { BEAT_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from '../../proto/message.ts'
import { isNoResponders, readHead } from './codec.ts'
import { busUnavailable } from './connection.ts'
import type { Waiter } from './reply-inbox.ts'

/** The worker that took the request has fallen silent: it died, or hangs. */
export class WorkerSilentError extends SandboxError {
  constructor() {
    super('timeout', `The worker that took the request was silent for ${BEAT_TIMEOUT_MS} ms.`)
  }
}

export interface PendingOptions {
  beats: boolean
  signal: AbortSignal | undefined
  resolve(message: Msg): void
  reject(error: SandboxError): void
  /** The error where nobody listens. */
  unanswered(): SandboxError
  /** `abandoned`: a worker may still be at it. */
  onSettled(abandoned: boolean): void
}

/**
 * Waits for the answer to one request.
 *
 * When the connection is lost meanwhile, what the server had not passed on is gone, either way. A request without
 * beats fails at once: it would otherwise wait out its time, and whether it was carried out cannot be known. One with
 * beats waits on: its worker carries on, keeps its answer until it is connected again, and beats; silence decides.
 */
export class PendingAnswer implements Waiter {
  readonly #options: PendingOptions
  #timer: NodeJS.Timeout | undefined
  #settled = false
  /** Frames since the request was sent, to tell a silent worker from an event loop that was busy. */
  #frames = 0
  #connectionLost = false

  constructor(options: PendingOptions) {
    this.#options = options
  }

  start(): void {
    const { beats, signal } = this.#options
    this.#timer = setTimeout(() => this.#onTimeout(), beats ? BEAT_TIMEOUT_MS : REQUEST_TIMEOUT_MS)
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  onFrame(message: Msg): void {
    this.#frames += 1
    if (readHead(message).kind === 'beat') this.#timer?.refresh()
    else if (isNoResponders(message)) this.#fail(this.#options.unanswered(), false)
    else {
      this.#settle(false)
      this.#options.resolve(message)
    }
  }

  onConnectionLost(): void {
    this.#connectionLost = true
    if (this.#options.beats) return
    this.#fail(
      busUnavailable(
        'The connection to the message bus was lost; the request may have been carried out, or not.',
      ),
      false,
    )
  }

  readonly #onAbort = (): void => {
    if (this.#options.signal !== undefined) this.#fail(abortError(this.#options.signal), true)
  }

  /** Timers fire before sockets are read: what came while the event loop was busy gets its turn first. */
  #onTimeout(): void {
    const { beats } = this.#options
    const frames = this.#frames
    setImmediate(() => {
      if (this.#settled || this.#frames > frames) return
      if (!beats) {
        this.#fail(new SandboxError('timeout', `No answer came in ${REQUEST_TIMEOUT_MS} ms.`), true)
      } else if (this.#connectionLost && this.#frames === 0) {
        const detail = 'The connection to the message bus was lost, and no sign of the request came since.'
        this.#fail(busUnavailable(detail), true)
      } else this.#fail(new WorkerSilentError(), true)
    })
  }

  #fail(error: SandboxError, abandoned: boolean): void {
    if (this.#settled) return
    this.#settle(abandoned)
    this.#options.reject(error)
  }

  #settle(abandoned: boolean): void {
    this.#settled = true
    clearTimeout(this.#timer)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#options.onSettled(abandoned)
  }
}

/** What a caller that gave up is told; its own reason where that may be shown. */
export function abortError(signal: AbortSignal): SandboxError {
  if (signal.reason instanceof SandboxError) return signal.reason
  return new SandboxError('timeout', 'The caller gave up before the answer came.', { cause: signal.reason })
}
