import type { Msg, Payload } from 'nats'
import type { OutgoingHead } from './codec.ts'
import type { Link } from './connection.ts'

/** Whoever waits for frames on one reply subject. */
export interface Waiter {
  onFrame(message: Msg): void
  onConnectionLost(): void
}

export interface Sent {
  /** Subject that the answer comes to. */
  reply: string
  forget(): void
}

/** One wildcard subscription for the answers to all requests: one for each would cost every request a subscribe. */
export class ReplyInbox {
  readonly #link: Link
  readonly #onUnawaited: (message: Msg) => void
  readonly #prefix: string
  readonly #waiters = new Map<string, Waiter>()
  #count = 0

  /** `onUnawaited` gets the frames that nobody waits for any more. */
  constructor(link: Link, onUnawaited: (message: Msg) => void) {
    this.#link = link
    this.#prefix = `${link.newInbox()}.`
    this.#onUnawaited = onUnawaited
    link.subscribe(`${this.#prefix}*`, (message) => this.#onFrame(message))
    link.onLost(() => {
      for (const waiter of [...this.#waiters.values()]) waiter.onConnectionLost()
    })
  }

  /** Requests that wait. */
  get size(): number {
    return this.#waiters.size
  }

  send(subject: string, payload: Payload, head: OutgoingHead | undefined, waiter: Waiter): Sent {
    this.#count += 1
    const reply = this.#prefix + this.#count.toString(36)
    this.#link.nc.publish(
      subject,
      payload,
      head === undefined ? { reply } : { reply, headers: head.asHeaders },
    )
    this.#waiters.set(reply, waiter)
    return { reply, forget: () => this.#waiters.delete(reply) }
  }

  #onFrame(message: Msg): void {
    const waiter = this.#waiters.get(message.subject)
    if (waiter === undefined) this.#onUnawaited(message)
    else waiter.onFrame(message)
  }
}
