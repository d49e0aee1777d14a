/** The sessions of one worker: an actor each, with what it needs of the outside. */
import { randomUUID } from 'node:crypto'
import { type Actor, createActor } from 'xstate'
import type { Sandbox, SandboxProvider } from '../../actors/ports.ts'
import type { CommandRequest } from '../../actors/session/command.ts'
import { describeSession, type Origin } from '../../actors/session/context.ts'
import { sessionLogic } from '../../actors/session/effects.ts'
import type { SessionEvent } from '../../actors/session/events.ts'
import type { Reply, SessionOutside } from '../../actors/session/outside.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { EndReason } from '../../proto/events.ts'
import type { CreateArgs, Network, SessionInfo } from '../../proto/session.ts'
import type { Answer, EventLog, Serving } from '../bus/api.ts'
import { Deadlines } from './deadlines.ts'
import { Journal } from './journal.ts'
import type { Log } from './log.ts'

export interface SessionsOptions {
  workerId: string
  /** Where sessions are reached from outside, as `<session>.<domain>`; null where nowhere. */
  previewDomain: string | null
  source: string
  events: EventLog
  provider: SandboxProvider
  log: Log
  now: () => number
  /** Makes a session reachable under its own subject. */
  serve(tenant: string, sessionId: string): Serving
}

interface Pending {
  resolve(answer: Answer): void
  reject(error: SandboxError): void
}

interface LiveSession {
  id: string
  tenant: string
  actor: Actor<ReturnType<typeof sessionLogic>>
  journal: Journal
  /** Commands that wait for their answer, by command id. */
  pending: Map<string, Pending>
  sandbox: Sandbox | null
  serving: Serving | null
  onGone: () => void
}

const NO_BODY = new Uint8Array(0)

export class Sessions {
  readonly #live = new Map<string, LiveSession>()
  /** Journals of sessions that are gone, whose last events are under way. */
  readonly #flushing = new Set<Promise<void>>()
  readonly #deadlines: Deadlines
  readonly #logic: ReturnType<typeof sessionLogic>
  readonly #options: SessionsOptions

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#deadlines = new Deadlines({
      now: options.now,
      onDue: (id) => this.#live.get(id)?.actor.send({ type: 'deadline', at: options.now() }),
    })
    this.#logic = sessionLogic(this.#outside())
  }

  /** Answers with a CreateResult; `onGone` is called when nothing of the session is left, or it never came to be. */
  create(
    tenant: string,
    args: CreateArgs,
    origin: Origin,
    signal: AbortSignal,
    onGone: () => void,
  ): Promise<Answer> {
    const { workerId, previewDomain, now, events, log, source } = this.#options
    const sessionId = randomUUID()
    const commandId = randomUUID()
    const actor = createActor(this.#logic, {
      input: {
        sessionId,
        tenant,
        workerId,
        previewUrl: previewDomain === null ? null : `http://${sessionId}.${previewDomain}`,
        createdBy: { ...origin, commandId },
        args,
        at: now(),
      },
    })
    const session: LiveSession = {
      id: sessionId,
      tenant,
      actor,
      journal: new Journal(events, log, source),
      pending: new Map(),
      sandbox: null,
      serving: null,
      onGone,
    }
    this.#live.set(sessionId, session)
    actor.subscribe({ error: (error) => this.#abandon(session, error) })
    const abandon = (): SessionEvent => ({ type: 'end', reason: 'deleted', origin, at: now() })
    return this.#askUnless(signal, session, commandId, () => actor.start(), abandon)
  }

  /** Hands a checked request to its session; an abort of `signal` cancels the command. */
  command(
    tenant: string,
    sessionId: string,
    verb: string,
    request: Omit<CommandRequest, 'id' | 'at'>,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const session = this.#live.get(sessionId)
    if (session === undefined || session.tenant !== tenant) {
      return Promise.reject(new SandboxError('session_not_found', 'There is no such session.'))
    }
    const { now } = this.#options
    const id = randomUUID()
    const send = () => session.actor.send({ type: 'command', verb, request: { ...request, id, at: now() } })
    if (signal === undefined) return this.#ask(session, id, send)
    const cancel = (): SessionEvent => ({ type: 'cancel', commandId: id, at: now() })
    return this.#askUnless(signal, session, id, send, cancel)
  }

  /** Sessions of the tenant that are known to somebody. */
  list(tenant: string): SessionInfo[] {
    const at = this.#options.now()
    return [...this.#live.values()]
      .filter((session) => session.tenant === tenant && session.serving !== null)
      .map((session) => describeSession(session.actor.getSnapshot().context, at))
  }

  endAll(reason: EndReason): void {
    const at = this.#options.now()
    for (const { actor } of [...this.#live.values()]) actor.send({ type: 'end', reason, origin: null, at })
  }

  /** Resolves when all events recorded so far are in the stream. */
  async flushed(): Promise<void> {
    const journals = [...this.#live.values()].map(({ journal }) => journal.flushed())
    await Promise.all([...this.#flushing, ...journals])
  }

  close(): void {
    this.#deadlines.close()
  }

  #ask(session: LiveSession, commandId: string, send: () => void): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      session.pending.set(commandId, { resolve, reject })
      send()
    })
  }

  /** As #ask, but an abort sends what `onAbort` makes; the answer comes nevertheless. */
  async #askUnless(
    signal: AbortSignal,
    session: LiveSession,
    commandId: string,
    send: () => void,
    onAbort: () => SessionEvent,
  ): Promise<Answer> {
    const abort = () => session.actor.send(onAbort())
    const answer = this.#ask(session, commandId, send)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    try {
      return await answer
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  #outside(): SessionOutside {
    const { now } = this.#options
    return {
      now,
      acquire: ({ sessionId, network }) => this.#acquire(this.#known(sessionId), network),
      sandboxOf: (sessionId) => {
        const { sandbox } = this.#known(sessionId)
        if (sandbox === null) throw new SandboxError('session_lost', 'The session has no sandbox.')
        return sandbox
      },
      destroy: async (sessionId) => this.#known(sessionId).sandbox?.destroy(),
      record: (entry) => this.#known(entry.sessionId).journal.record(entry),
      reply: (reply) => void this.#reply(this.#known(reply.sessionId), reply),
      arm: ({ sessionId, at }) => this.#deadlines.set(sessionId, at),
      release: ({ sessionId }) => this.#release(this.#known(sessionId)),
    }
  }

  #known(sessionId: string): LiveSession {
    const session = this.#live.get(sessionId)
    if (session === undefined) throw new SandboxError('internal', `session ${sessionId} is not held here`)
    return session
  }

  async #acquire(session: LiveSession, network: Network): Promise<void> {
    const sandbox = await this.#options.provider.acquire({ network })
    session.sandbox = sandbox
    session.serving = this.#options.serve(session.tenant, session.id)
    void sandbox.lost.then((detail) => {
      this.#options.log.warn({ session: session.id, detail }, 'sandbox lost')
      session.actor.send({ type: 'lost', detail, at: this.#options.now() })
    })
  }

  /** Answers once the events that the answer rests on are durable. */
  async #reply(session: LiveSession, { commandId, result, durableSequence }: Reply): Promise<void> {
    const pending = session.pending.get(commandId)
    if (pending === undefined) return
    session.pending.delete(commandId)
    try {
      await session.journal.durable(durableSequence)
    } catch (thrown) {
      pending.reject(SandboxError.from(thrown))
      return
    }
    if ('error' in result) pending.reject(result.error)
    else pending.resolve({ value: result.value, body: result.body ?? NO_BODY })
  }

  #release(session: LiveSession): void {
    // Unsubscribed before the last answers go out: who hears that a session is gone finds nobody there.
    void session.serving?.stop()
    this.#deadlines.set(session.id, null)
    this.#live.delete(session.id)
    const flushed = session.journal.flushed().finally(() => this.#flushing.delete(flushed))
    this.#flushing.add(flushed)
    queueMicrotask(() => session.actor.stop())
    session.onGone()
  }

  /** The last resort where the machine itself failed: nothing of the session may stay behind. */
  #abandon(session: LiveSession, cause: unknown): void {
    this.#options.log.error({ err: cause, session: session.id }, 'session actor failed')
    const error = SandboxError.from(cause)
    for (const pending of session.pending.values()) pending.reject(error)
    session.pending.clear()
    const gone = session.sandbox?.destroy() ?? Promise.resolve()
    const release = () => {
      if (this.#live.has(session.id)) this.#release(session)
    }
    gone.then(release, (failure: unknown) => {
      this.#options.log.error({ err: failure, session: session.id }, 'sandbox not destroyed')
      release()
    })
  }
}
