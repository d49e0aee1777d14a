/** Gives the session machine its outside. Nothing in here rejects or throws into the machine. */
import { fromCallback } from 'xstate'
import { SandboxError } from '../../proto/errors.ts'
import type { AbortCause, Outcome } from './command.ts'
import type { AbortEvent, AcquiredEvent, DestroyedEvent, FinishedEvent } from './events.ts'
import { type AcquireInput, type DestroyInput, type PerformInput, sessionMachine } from './machine.ts'
import type { SessionOutside } from './outside.ts'

/** The machine of every session of one worker. */
export function sessionLogic(outside: SessionOutside) {
  return sessionMachine.provide({
    actors: { acquire: acquiring(outside), perform: performing(outside), destroy: destroying(outside) },
    actions: {
      record: (_, entry) => outside.record(entry),
      reply: (_, reply) => outside.reply(reply),
      arm: (_, request) => outside.arm(request),
      release: (_, request) => outside.release(request),
    },
  })
}

/** Runs one command's effect; an abort reaches it as the reason of its signal. */
function performing(outside: SessionOutside) {
  return fromCallback<AbortEvent, PerformInput>(({ input, sendBack, receive }) => {
    const controller = new AbortController()
    const stop = (cause: AbortCause) => controller.abort(cause)
    receive(({ cause }) => stop(cause))
    void performSafely(outside, input, controller.signal).then((outcome) => {
      const event: FinishedEvent = {
        type: 'finished',
        commandId: input.commandId,
        outcome,
        at: outside.now(),
      }
      sendBack(event)
    })
  })
}

async function performSafely(
  outside: SessionOutside,
  { sessionId, perform }: PerformInput,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    return await perform(outside.sandboxOf(sessionId), signal)
  } catch (thrown) {
    return { error: SandboxError.from(thrown) }
  }
}

function acquiring(outside: SessionOutside) {
  return fromCallback<AbortEvent, AcquireInput>(({ input, sendBack }) => {
    void settle(() => outside.acquire(input)).then((failure) => {
      const event: AcquiredEvent = { type: 'acquired', failure, at: outside.now() }
      sendBack(event)
    })
  })
}

function destroying(outside: SessionOutside) {
  return fromCallback<AbortEvent, DestroyInput>(({ input, sendBack }) => {
    void settle(() => outside.destroy(input.sessionId)).then((failure) => {
      const event: DestroyedEvent = { type: 'destroyed', failure, at: outside.now() }
      sendBack(event)
    })
  })
}

async function settle(work: () => Promise<void>): Promise<SandboxError | null> {
  try {
    await work()
    return null
  } catch (thrown) {
    return SandboxError.from(thrown)
  }
}
