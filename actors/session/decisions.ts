/**
 * What a session decides, as plain functions of context and event. Each returns what changes in the context and
 * what is asked of the outside, in order; the machine only carries it out.
 */
import { SandboxError } from '../../proto/errors.ts'
import type { EventRecord } from '../../proto/events.ts'
import { MAX_CONCURRENT_COMMANDS } from '../../proto/limits.ts'
import { type Ask, arm, type Context, originOf, record, reply, resultOf } from './asks.ts'
import {
  type AnyCommand,
  type CommandRequest,
  isSuccess,
  type Outcome,
  type Perform,
  type Prepared,
} from './command.ts'
import { COMMANDS } from './commands/registry.ts'
import { isIdle, type Phase, type SessionContext } from './context.ts'
import { envNames } from './event-text.ts'
import {
  type AcquiredEvent,
  type CommandEvent,
  type FinishedEvent,
  type SessionEvent,
  timeOf,
} from './events.ts'

/** How long running commands have to end when their session ends, before the sandbox is taken from under them. */
export const DRAIN_TIMEOUT_MS = 5_000
/** How long the end of a sandbox may take; below the bus's request timeout, so that who deletes learns of it. */
export const DESTROY_TIMEOUT_MS = 20_000

export interface Decision {
  change: Partial<SessionContext>
  asks: Ask[]
  /** A command whose effect begins. */
  begin?: { commandId: string; perform: Perform }
}

export function commandOf(verb: string): AnyCommand {
  const command = COMMANDS.get(verb)
  if (command === undefined) throw new RangeError(`no such command: ${verb}`)
  return command
}

export function isAccepted(verb: string, phase: Phase): boolean {
  return commandOf(verb).phases.includes(phase)
}

/** The idle clock starts anew, unless something runs. */
function touch(context: Context, at: number): { change: Partial<SessionContext>; asks: Ask[] } {
  const expiresAt = isIdle(context) ? at + context.ttlMs : null
  return { change: { lastActiveAt: at, expiresAt }, asks: [arm(context, expiresAt)] }
}

/** The sandbox is there. An end that was asked for meanwhile is told to who asked for the session. */
export function noteCreated(context: Context, { at }: AcquiredEvent): Decision {
  const { createdBy, env, metadata, network, sessionId, previewUrl, ttlMs } = context
  const created: EventRecord = {
    type: 'session.created',
    data: { ttl_secs: ttlMs / 1000, ...envNames(env), metadata, network },
  }
  const { sequence, asks } = record(context, [created], originOf(createdBy), at)
  const ended = context.endReason !== null
  const result = ended
    ? { error: refusal(context, 'ending') }
    : { value: { session_id: sessionId, preview_url: previewUrl } }
  const touched = ended ? { change: {}, asks: [] } : touch(context, at)
  return {
    change: { sequence, ...touched.change },
    asks: [...asks, reply(context, createdBy.commandId, result, sequence), ...touched.asks],
  }
}

export function noteCreateFailed(context: Context, { failure, at }: AcquiredEvent): Decision {
  const error = failure ?? new SandboxError('sandbox_failed', 'The sandbox could not be prepared.')
  const failed: EventRecord = {
    type: 'session.create_failed',
    data: { code: error.code, detail: error.message },
  }
  const { createdBy, sessionId } = context
  const { sequence, asks } = record(context, [failed], originOf(createdBy), at)
  return {
    change: { sequence, endWaiters: [] },
    asks: [
      ...asks,
      reply(context, createdBy.commandId, { error }, sequence),
      // Who asked for the end of what never came to be has what they wanted.
      ...context.endWaiters.map((id) => reply(context, id, { value: {} }, sequence)),
      { type: 'release', params: { sessionId } },
    ],
  }
}

function refusal(context: Context, phase: Phase): SandboxError {
  if (phase === 'lost' || context.endReason === 'lost') {
    return new SandboxError(
      'session_lost',
      `The session was lost: ${context.endDetail ?? 'its sandbox ended'}.`,
    )
  }
  if (phase === 'ending') {
    if (context.endReason === 'stopped') return new SandboxError('stopping', 'The worker is stopping.')
    return new SandboxError('session_ending', 'The session is ending.')
  }
  if (phase === 'creating') return new SandboxError('session_not_found', 'The session is not ready yet.')
  return new SandboxError('session_not_found', 'There is no such session.')
}

export function refuse(context: Context, { request }: CommandEvent, phase: Phase): Decision {
  return { change: {}, asks: [reply(context, request.id, { error: refusal(context, phase) }, 0)] }
}

export function refuseForRoom(context: Context, { request }: CommandEvent): Decision {
  const detail = `The session already runs ${MAX_CONCURRENT_COMMANDS} commands.`
  const error = new SandboxError('too_many_runs', detail)
  return { change: {}, asks: [reply(context, request.id, { error }, 0)] }
}

/** A command that needs nothing but the context. */
export function decide(context: Context, { verb, request }: CommandEvent): Decision {
  const command = commandOf(verb)
  if (!('decide' in command)) throw new TypeError(`${verb} is not decided from the context`)
  const outcome = attempt(() => command.decide(context, request))
  return conclude(context, command, request, outcome, null)
}

/** A command that works on the sandbox begins. */
export function begin(context: Context, { verb, request }: CommandEvent): Decision {
  const command = commandOf(verb)
  if (!('prepare' in command)) throw new TypeError(`${verb} has no effect on the sandbox`)
  const prepared = attempt((): Prepared => command.prepare(context, request))
  // What is wrong with a request in view of its session ends it like anything else that is wrong with it.
  const { events = [], perform } = 'error' in prepared ? { perform: async () => prepared } : prepared
  const { sequence, asks } = record(context, events, originOf(request), request.at)
  const running = {
    verb,
    ...originOf(request),
    startedAt: request.at,
    begunSequence: sequence,
  }
  const change: Partial<SessionContext> = {
    sequence,
    running: { ...context.running, [request.id]: running },
    expiresAt: null,
  }
  if (command.activity) change.lastActiveAt = request.at
  return {
    change,
    asks: [...asks, arm(context, null)],
    begin: { commandId: request.id, perform },
  }
}

/** A throw inside an action would end the actor for good. */
function attempt<T>(produce: () => T): T | { error: SandboxError } {
  try {
    return produce()
  } catch (thrown) {
    return { error: SandboxError.from(thrown) }
  }
}

export function finish(context: Context, { commandId, outcome, at }: FinishedEvent): Decision {
  const running = context.running[commandId]
  if (running === undefined) return { change: {}, asks: [] }
  const after = without(context, commandId)
  const request = { id: commandId, requestId: running.requestId, actor: running.actor, at }
  const decision = conclude(after, commandOf(running.verb), request, outcome, running.begunSequence)
  return { ...decision, change: { ...decision.change, running: after.running } }
}

/** The context once that command is over. */
export function without(context: Context, commandId: string): Context {
  const { [commandId]: _over, ...running } = context.running
  return { ...context, running }
}

/** Records, applies and answers what a command came to. */
function conclude(
  context: Context,
  command: AnyCommand,
  request: Pick<CommandRequest, 'id' | 'requestId' | 'actor' | 'at'>,
  outcome: Outcome,
  begunSequence: number | null,
): Decision {
  const { requestId, actor, at } = request
  const { sequence, asks } = record(context, outcome.events ?? [], { requestId, actor }, at)
  const durable = outcome.events === undefined ? (begunSequence ?? 0) : sequence
  const durableSequence = command.answersFirst === true ? (begunSequence ?? 0) : durable
  const answer = reply(context, request.id, resultOf(outcome), durableSequence)
  const change = { ...(isSuccess(outcome) ? outcome.change : {}), sequence }
  if (context.endReason !== null) return { change, asks: [...asks, answer] }
  const restarts = command.activity ? at : context.lastActiveAt
  const touched = touch(context, restarts)
  return { change: { ...change, ...touched.change }, asks: [...asks, answer, ...touched.asks] }
}

/** The first reason stays; who asks again waits for the same end. */
export function requestEnd(context: Context, event: SessionEvent): Decision {
  if (event.type === 'command' && context.endWaiters.length >= MAX_CONCURRENT_COMMANDS) {
    const error = new SandboxError('too_many_runs', 'Too many requests wait for the end of this session.')
    return { change: {}, asks: [reply(context, event.request.id, { error }, 0)] }
  }
  const change: Partial<SessionContext> = context.endReason === null ? endAskedBy(event) : {}
  if (event.type === 'command') change.endWaiters = [...context.endWaiters, event.request.id]
  return { change, asks: [] }
}

function endAskedBy(event: SessionEvent): Partial<SessionContext> {
  const end = { expiresAt: null, endDetail: null, endedBy: null }
  switch (event.type) {
    case 'command': {
      const command = commandOf(event.verb)
      const endReason = 'ends' in command ? command.ends : 'deleted'
      return { ...end, endReason, endedBy: originOf(event.request) }
    }
    case 'end':
      return { ...end, endReason: event.reason, endedBy: event.origin }
    case 'lost':
      return { ...end, endReason: 'lost', endDetail: event.detail }
    default:
      return { ...end, endReason: 'expired' }
  }
}

/** A step of ending begins, which is given up at `endingBy`. */
export function limitStep(context: Context, endingBy: number): Decision {
  return { change: { endingBy }, asks: [arm(context, endingBy)] }
}

/** Everything of the session is gone; or it could not be made to go, or not in time. */
export function noteEnded(context: Context, event: SessionEvent): Decision {
  const at = timeOf(event)
  const failure = event.type === 'destroyed' ? event.failure : overdue()
  const { endReason, endDetail, endedBy, sessionId } = context
  const detail = failure?.message ?? endDetail
  const ended: EventRecord = {
    type: 'session.ended',
    data: { reason: endReason ?? 'deleted', ...(detail === null ? {} : { detail }) },
  }
  const { sequence, asks } = record(context, [ended], endedBy, at)
  const result = failure === null ? { value: {} } : { error: failure }
  // Only where the sandbox did not end in time: nothing will be heard of these commands any more.
  const error = failure ?? refusal(context, 'ending')
  return {
    change: { sequence, endWaiters: [], running: {}, endingBy: null },
    asks: [
      ...asks,
      ...context.endWaiters.map((id) => reply(context, id, result, sequence)),
      ...Object.keys(context.running).map((id) => reply(context, id, { error }, sequence)),
      arm(context, null),
      { type: 'release', params: { sessionId } },
    ],
  }
}

function overdue(): SandboxError {
  return new SandboxError('internal', `The sandbox did not end within ${DESTROY_TIMEOUT_MS} ms.`)
}
