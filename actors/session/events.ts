/** What a session's machine is told. */
import type { SandboxError } from '../../proto/errors.ts'
import type { EndReason } from '../../proto/events.ts'
import type { AbortCause, CommandRequest, Outcome } from './command.ts'
import type { Origin } from './context.ts'

/** A request for a command, its arguments checked against the definition of its verb. */
export interface CommandEvent {
  type: 'command'
  verb: string
  request: CommandRequest
}
/** A command's effect is over. */
export interface FinishedEvent {
  type: 'finished'
  commandId: string
  outcome: Outcome
  at: number
}
/** The sandbox is there, or why it is not. */
export interface AcquiredEvent {
  type: 'acquired'
  failure: SandboxError | null
  at: number
}
/** Everything of the sandbox is gone, or why it is not. */
export interface DestroyedEvent {
  type: 'destroyed'
  failure: SandboxError | null
  at: number
}
/** Nobody waits for a command's answer any more. */
export interface CancelEvent {
  type: 'cancel'
  commandId: string
  at: number
}
/** The time that the session asked to be told of has come. */
export interface DeadlineEvent {
  type: 'deadline'
  at: number
}
/** The worker ends the session. */
export interface EndEvent {
  type: 'end'
  reason: EndReason
  origin: Origin | null
  at: number
}
/** The sandbox ended by itself. */
export interface LostEvent {
  type: 'lost'
  detail: string
  at: number
}

export type SessionEvent =
  | CommandEvent
  | FinishedEvent
  | AcquiredEvent
  | DestroyedEvent
  | CancelEvent
  | DeadlineEvent
  | EndEvent
  | LostEvent

/** Absolute ms. */
export function timeOf(event: SessionEvent): number {
  return event.type === 'command' ? event.request.at : event.at
}

/** What the machine tells the child that performs a command. */
export interface AbortEvent {
  type: 'abort'
  cause: AbortCause
}
