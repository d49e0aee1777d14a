import { setTimeout as sleep } from 'node:timers/promises'
import type { Msg, Subscription } from 'nats'
import { SandboxError } from '../../proto/errors.ts'
import { BEAT_INTERVAL_MS, BEAT_TIMEOUT_MS, type CancelRequest } from '../../proto/message.ts'
import { parseCancel, subjects } from '../../proto/subjects.ts'
import { InFlight } from '../in-flight.ts'
import type { Answer, BusServer, Handler, Serving } from './api.ts'
import type { Bodies } from './body.ts'
import { answerHead, EMPTY, type Packed, pack, parseJson, textOf } from './codec.ts'
import type { BusConnection, Link } from './connection.ts'
import type { Logger } from './logger.ts'
import { ReceivedRequest } from './received-request.ts'

/** Requests that a server carries out at a time; workers have tighter bounds of their own. */
export const MAX_REQUESTS_UNDER_WAY = 16_384
/** After it a caller that waits for beats has given up, and one that does not has been told at once. */
const ANSWER_PATIENCE_MS = BEAT_TIMEOUT_MS
/** Unsubscribing is one round trip; a server that does not take it is gone, and its messages with it. */
const DRAIN_TIMEOUT_MS = 1_000

export class NatsBusServer implements BusServer {
  readonly #link: Link
  readonly #bodies: Bodies
  readonly #log: Logger
  readonly #underWay = new Set<ReceivedRequest>()
  #cancels: Subscription | undefined

  constructor(connection: BusConnection, bodies: Bodies, log: Logger) {
    this.#link = connection.requests
    this.#bodies = bodies
    this.#log = log
  }

  serve(subject: string, handler: Handler, options: { queue?: string } = {}): Serving {
    // Only who serves may need to hear of cancels: a front-end has no permission for it.
    this.#cancels ??= this.#link.subscribe(subjects.allCancels(), (message) => this.#onCancel(message))
    const inFlight = new InFlight<ReceivedRequest>()
    const onMessage = (message: Msg) => {
      const request = new ReceivedRequest(message, this.#bodies, this.#link.reconnects)
      inFlight.add(request)
      void this.#carryOut(request, handler)
        .catch((thrown: unknown) => this.#log.error({ err: thrown, subject }, 'answer not sent'))
        .finally(() => inFlight.delete(request))
    }
    const subscription = this.#link.subscribe(subject, onMessage, options)
    let stopped: Promise<void> | undefined
    return {
      stop: () => {
        stopped ??= this.#drain(subscription).then(() => inFlight.empty())
        return stopped
      },
    }
  }

  publish(subject: string, value: unknown): void {
    if (this.#link.connected) this.#link.nc.publish(subject, JSON.stringify(value))
  }

  /** What the server has sent us before it knew is still handled. */
  async #drain(subscription: Subscription): Promise<void> {
    if (!this.#link.connected) return subscription.unsubscribe()
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, DRAIN_TIMEOUT_MS)
    })
    await Promise.race([subscription.drain().catch(() => {}), timeout])
    clearTimeout(timer)
  }

  async #carryOut(request: ReceivedRequest, handler: Handler): Promise<void> {
    this.#underWay.add(request)
    const beats = request.wantsBeats ? setInterval(() => this.#beat(request), BEAT_INTERVAL_MS) : undefined
    try {
      if (this.#underWay.size > MAX_REQUESTS_UNDER_WAY) {
        throw new SandboxError('too_many_runs', `${MAX_REQUESTS_UNDER_WAY} requests are already under way.`)
      }
      await request.read()
      if (!request.abandoned) await this.#answer(request, await handler(request))
    } catch (thrown) {
      await this.#answerError(request, thrown)
    } finally {
      clearInterval(beats)
      this.#underWay.delete(request)
      request.letGo()
    }
  }

  async #answer(request: ReceivedRequest, { value, body }: Answer): Promise<void> {
    if (request.reply === undefined || request.abandoned) return
    const packed = pack(answerHead('result'), value, body, (content) => this.#bodies.offer(content))
    await this.#send(request, packed)
  }

  async #answerError(request: ReceivedRequest, thrown: unknown): Promise<void> {
    // Whatever came of it: the caller has gone.
    if (request.abandoned) return
    const error = SandboxError.from(thrown)
    const { requestId, subject, reply } = request
    if (error.code === 'internal')
      this.#log.error({ err: thrown, request_id: requestId, subject }, 'request failed')
    else if (reply === undefined)
      this.#log.debug({ err: error, request_id: requestId, subject }, 'request refused')
    const packed = pack(answerHead('error'), error.toProblem(requestId), EMPTY, (content) =>
      this.#bodies.offer(content),
    )
    await this.#send(request, packed)
  }

  async #send({ reply, requestId, reconnects }: ReceivedRequest, packed: Packed): Promise<void> {
    if (reply === undefined) return
    const undisturbed = this.#link.connected && this.#link.reconnects === reconnects
    if (undisturbed || (await this.#untilHeard())) {
      this.#link.nc.publish(reply, packed.payload, { headers: packed.head.asHeaders })
      return
    }
    this.#log.warn({ request_id: requestId }, 'answer lost, there is no connection to the bus')
    if (packed.source !== undefined) this.#bodies.withdraw(packed.source)
  }

  /**
   * What is published while there is no connection would be lost, and so would what is published before the caller
   * has one again. Callers with beats still wait. False where the connection stays away.
   */
  async #untilHeard(): Promise<boolean> {
    if (!(await this.#link.untilConnected(ANSWER_PATIENCE_MS))) return false
    await sleep(this.#link.othersAwayMs)
    return this.#link.connected
  }

  #beat({ reply }: ReceivedRequest): void {
    if (reply !== undefined && this.#link.connected)
      this.#link.nc.publish(reply, EMPTY, { headers: BEAT.asHeaders })
  }

  #onCancel(message: Msg): void {
    const cancelled = parseCancel(message.subject)
    if (cancelled === undefined) return
    const reply = replyNamedBy(message)
    for (const request of this.#underWay) {
      const matches = request.requestId === cancelled.requestId && request.tenant === cancelled.tenant
      if (matches && (reply === undefined || reply === request.reply)) {
        request.cancel({ byCaller: reply !== undefined })
      }
    }
  }
}

const BEAT = answerHead('beat')

function replyNamedBy(message: Msg): string | undefined {
  try {
    const { reply } = (parseJson(textOf(message.data)) ?? {}) as CancelRequest
    return reply
  } catch {
    // An exact request was meant, and which one cannot be told: none is.
    return ''
  }
}
