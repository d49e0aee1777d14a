/**
 * The life of a session.
 *
 *   creating ──▶ ready (idle ⇄ busy) ──▶ ending (draining ──▶ destroying) ──▶ gone | lost
 *      └──▶ failed
 *
 * Only shape is here: which event leads where. What is decided is in decisions.ts, what commands do in commands/.
 * The outside is reached by four actions (record, reply, arm, release) and three actors (acquire, perform, destroy),
 * which effects.ts gives it; without them the machine is pure and `transition()` tells all it would do. There is no
 * `after`: a delay would be lost with the process, so times stand in the context and `deadline` events come in.
 */
import { and, assertEvent, fromCallback, setup } from 'xstate'
import { MAX_CONCURRENT_COMMANDS } from '../../proto/limits.ts'
import type { Network } from '../../proto/session.ts'
import type { AbortCause, Perform } from './command.ts'
import { initialContext, isIdle, type Phase, type SessionContext, type SessionInput } from './context.ts'
import * as decisions from './decisions.ts'
import { type AbortEvent, type SessionEvent, timeOf } from './events.ts'
import type { JournalEntry, Reply } from './outside.ts'

export interface AcquireInput {
  sessionId: string
  network: Network
}
export interface PerformInput {
  sessionId: string
  commandId: string
  perform: Perform
}
export interface DestroyInput {
  sessionId: string
}

const unbound = () => {
  throw new Error('The session machine has no outside; see effects.ts.')
}

const ports = setup({
  types: {
    context: {} as SessionContext,
    events: {} as SessionEvent,
    input: {} as SessionInput,
  },
  actors: {
    /** Sends `acquired`. */
    acquire: fromCallback<AbortEvent, AcquireInput>(unbound),
    /** Sends `finished`; listens to `abort`. */
    perform: fromCallback<AbortEvent, PerformInput>(unbound),
    /** Sends `destroyed`. */
    destroy: fromCallback<AbortEvent, DestroyInput>(unbound),
  },
  actions: {
    record: (_, _entry: JournalEntry) => {},
    reply: (_, _reply: Reply) => {},
    arm: (_, _request: { sessionId: string; at: number | null }) => {},
    release: (_, _request: { sessionId: string }) => {},
  },
  guards: {
    isFailure: ({ event }) => event.type === 'acquired' && event.failure !== null,
    isRefused: ({ event }, { phase }: { phase: Phase }) =>
      event.type === 'command' && !decisions.isAccepted(event.verb, phase),
    endsSession: ({ event }) => event.type === 'command' && 'ends' in decisions.commandOf(event.verb),
    worksOnSandbox: ({ event }) => event.type === 'command' && 'prepare' in decisions.commandOf(event.verb),
    hasNoRoom: ({ context, event }) =>
      event.type === 'command' &&
      'prepare' in decisions.commandOf(event.verb) &&
      Object.keys(context.running).length >= MAX_CONCURRENT_COMMANDS,
    isRunning: ({ context, event }) =>
      event.type === 'cancel' && Object.hasOwn(context.running, event.commandId),
    isIdle: ({ context }) => isIdle(context),
    isLast: ({ context, event }) =>
      event.type === 'finished' && isIdle(decisions.without(context, event.commandId)),
    isExpired: ({ context, event }) =>
      event.type === 'deadline' && context.expiresAt !== null && event.at >= context.expiresAt,
    isOverdue: ({ context, event }) =>
      event.type === 'deadline' && context.endingBy !== null && event.at >= context.endingBy,
    isEndRequested: ({ context }) => context.endReason !== null,
    isLost: ({ context }) => context.endReason === 'lost',
  },
})

type Enqueue = Parameters<Parameters<typeof ports.enqueueActions>[0]>[0]['enqueue']

function carryOut(enqueue: Enqueue, sessionId: string, { change, asks, begin }: decisions.Decision): void {
  enqueue.assign(change)
  for (const ask of asks) enqueue(ask)
  if (begin === undefined) return
  enqueue.spawnChild('perform', { id: begin.commandId, input: { sessionId, ...begin } })
}

type EventOf<T extends SessionEvent['type']> = Extract<SessionEvent, { type: T }>

/** An action that carries out what is decided on an event of that type; no type = on any. */
const carryOutOn = <T extends SessionEvent['type']>(
  type: T | null,
  decide: (context: SessionContext, event: EventOf<T>) => decisions.Decision,
) =>
  ports.enqueueActions(({ context, event, enqueue }) => {
    if (type !== null) assertEvent(event, type)
    carryOut(enqueue, context.sessionId, decide(context, event as EventOf<T>))
  })

const refuseWhile = (phase: Phase) =>
  carryOutOn('command', (context, event) => decisions.refuse(context, event, phase))

const limitStep = (timeoutMs: number) =>
  carryOutOn(null, (context, event) => decisions.limitStep(context, timeOf(event) + timeoutMs))

const abort = (enqueue: Enqueue, commandId: string, cause: AbortCause) =>
  enqueue.sendTo(commandId, { type: 'abort', cause })

const session = ports.extend({
  actions: {
    refuseWhileCreating: refuseWhile('creating'),
    refuseWhileReady: refuseWhile('ready'),
    refuseWhileEnding: refuseWhile('ending'),
    refuseWhenGone: refuseWhile('gone'),
    refuseWhenFailed: refuseWhile('failed'),
    refuseWhenLost: refuseWhile('lost'),
    refuseForRoom: carryOutOn('command', decisions.refuseForRoom),

    noteCreated: carryOutOn('acquired', decisions.noteCreated),
    noteCreateFailed: carryOutOn('acquired', decisions.noteCreateFailed),

    decide: carryOutOn('command', decisions.decide),
    begin: carryOutOn('command', decisions.begin),
    finish: ports.enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'finished')
      carryOut(enqueue, context.sessionId, decisions.finish(context, event))
      enqueue.stopChild(event.commandId)
    }),
    cancelCommand: ports.enqueueActions(({ event, enqueue }) => {
      assertEvent(event, 'cancel')
      abort(enqueue, event.commandId, 'cancelled')
    }),

    requestEnd: carryOutOn(null, decisions.requestEnd),
    abortRunning: ports.enqueueActions(({ context, enqueue }) => {
      for (const id of Object.keys(context.running)) abort(enqueue, id, 'session_ended')
    }),
    limitDraining: limitStep(decisions.DRAIN_TIMEOUT_MS),
    limitDestroying: limitStep(decisions.DESTROY_TIMEOUT_MS),
    noteEnded: carryOutOn(null, decisions.noteEnded),
  },
})

export const sessionMachine = session.createMachine({
  id: 'session',
  context: ({ input }) => initialContext(input),
  initial: 'creating',
  states: {
    creating: {
      invoke: {
        src: 'acquire',
        id: 'acquire',
        input: ({ context: { sessionId, network } }) => ({ sessionId, network }),
      },
      on: {
        acquired: [
          { guard: 'isFailure', target: 'failed', actions: 'noteCreateFailed' },
          { guard: 'isEndRequested', target: 'ending', actions: 'noteCreated' },
          { target: 'ready', actions: 'noteCreated' },
        ],
        command: [
          { guard: { type: 'isRefused', params: { phase: 'creating' } }, actions: 'refuseWhileCreating' },
          { guard: 'endsSession', actions: 'requestEnd' },
          { actions: 'decide' },
        ],
        end: { actions: 'requestEnd' },
      },
    },

    ready: {
      initial: 'idle',
      on: {
        command: [
          { guard: { type: 'isRefused', params: { phase: 'ready' } }, actions: 'refuseWhileReady' },
          { guard: 'endsSession', target: 'ending', actions: 'requestEnd' },
          { guard: 'hasNoRoom', actions: 'refuseForRoom' },
          { guard: 'worksOnSandbox', target: '.busy', actions: 'begin' },
          { actions: 'decide' },
        ],
        finished: [{ guard: 'isLast', target: '.idle', actions: 'finish' }, { actions: 'finish' }],
        cancel: { guard: 'isRunning', actions: 'cancelCommand' },
        end: { target: 'ending', actions: 'requestEnd' },
        lost: { target: 'ending', actions: 'requestEnd' },
      },
      states: {
        idle: {
          on: { deadline: { guard: 'isExpired', target: '#session.ending', actions: 'requestEnd' } },
        },
        busy: {},
      },
    },

    ending: {
      entry: 'abortRunning',
      initial: 'draining',
      on: {
        command: [
          { guard: { type: 'isRefused', params: { phase: 'ending' } }, actions: 'refuseWhileEnding' },
          { guard: 'endsSession', actions: 'requestEnd' },
          { actions: 'decide' },
        ],
        finished: { actions: 'finish' },
      },
      states: {
        draining: {
          entry: 'limitDraining',
          always: { guard: 'isIdle', target: 'destroying' },
          on: { deadline: { guard: 'isOverdue', target: 'destroying' } },
        },
        destroying: {
          entry: 'limitDestroying',
          invoke: {
            src: 'destroy',
            id: 'destroy',
            input: ({ context: { sessionId } }) => ({ sessionId }),
          },
          on: {
            destroyed: [
              { guard: 'isLost', target: '#session.lost', actions: 'noteEnded' },
              { target: '#session.gone', actions: 'noteEnded' },
            ],
            deadline: [
              { guard: and(['isOverdue', 'isLost']), target: '#session.lost', actions: 'noteEnded' },
              { guard: 'isOverdue', target: '#session.gone', actions: 'noteEnded' },
            ],
          },
        },
      },
    },

    // Not final: a request that was under way when the session went still gets its answer.
    gone: { on: { command: { actions: 'refuseWhenGone' } } },
    failed: { on: { command: { actions: 'refuseWhenFailed' } } },
    lost: { on: { command: { actions: 'refuseWhenLost' } } },
  },
})
