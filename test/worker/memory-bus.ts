/** A bus in memory, for what the worker does with one; the real one has tests of its own. */
import { SandboxError } from '../../proto/errors.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import type { Answer, BusServer, EventLog, Handler, Serving } from '../../src/bus/api.ts'

interface Subscription {
  subject: string
  handler: Handler
  queue: string | undefined
}

function matches(pattern: string, subject: string): boolean {
  const expected = pattern.split('.')
  const actual = subject.split('.')
  return (
    expected.length === actual.length &&
    expected.every((token, index) => token === '*' || token === actual[index])
  )
}

export class MemoryBus implements BusServer {
  readonly subscriptions = new Set<Subscription>()
  readonly published: { subject: string; value: unknown }[] = []
  #requests = 0

  serve(subject: string, handler: Handler, options: { queue?: string } = {}): Serving {
    const subscription = { subject, handler, queue: options.queue }
    this.subscriptions.add(subscription)
    return {
      stop: async () => {
        this.subscriptions.delete(subscription)
      },
    }
  }

  publish(subject: string, value: unknown): void {
    this.published.push({ subject, value })
  }

  /** Undefined where nobody listens. */
  request(
    subject: string,
    args: unknown = {},
    body: Uint8Array = new Uint8Array(0),
    signal: AbortSignal = new AbortController().signal,
  ): Promise<Answer> {
    const subscription = [...this.subscriptions].find((one) => matches(one.subject, subject))
    if (subscription === undefined) return Promise.reject(new Error(`no responder on ${subject}`))
    this.#requests += 1
    return subscription.handler({
      subject,
      args,
      requestId: `request-${this.#requests}`,
      actor: 'test',
      signal,
      body: async (maxBytes) => {
        if (body.length <= maxBytes) return body
        throw new SandboxError('payload_too_large', `body: ${body.length} bytes`)
      },
    })
  }
}

export class MemoryLog implements EventLog {
  readonly kept: SandboxEvent[] = []
  /** What append waits for. */
  appending: Promise<void> = Promise.resolve()
  failure: Error | null = null

  async append(event: SandboxEvent): Promise<void> {
    await this.appending
    if (this.failure !== null) throw this.failure
    this.kept.push(event)
  }

  async *read(): AsyncIterable<SandboxEvent> {
    yield* this.kept
  }

  of(sessionId: string): SandboxEvent[] {
    return this.kept.filter((event) => event.subject === sessionId)
  }

  types(sessionId: string): string[] {
    return this.of(sessionId).map((event) => event.type.replace('dev.opensandbox.', ''))
  }
}
