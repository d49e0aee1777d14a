/**
 * What a session command is. One file in commands/ defines one; the registry names them all; the machine knows none.
 *
 *   decide    answers from the context alone, at once
 *   prepare   checks and records beforehand, then `perform`s on the sandbox, beside other commands
 *   ends      ends the session for a reason; the answer comes when everything is gone
 *
 * None of them changes anything itself: each returns an Outcome, and the machine applies it.
 */
import type { Static, TSchema } from 'typebox'
import type { SandboxError } from '../../proto/errors.ts'
import type { EndReason, EventRecord } from '../../proto/events.ts'
import type { Sandbox } from '../ports.ts'
import type { Phase, SessionContext } from './context.ts'

/** One request for a command, checked. */
export interface CommandRequest<Args = unknown> {
  /** Unique; also the run's id. */
  id: string
  args: Args
  body: Uint8Array
  requestId: string
  /** Who asks. */
  actor: string
  /** Absolute ms. */
  at: number
}

/** The part of the context that a command may change. */
export type SessionChange = Partial<Pick<SessionContext, 'env' | 'cwd'>>

export interface Success<Value = unknown> {
  value: Value
  body?: Uint8Array
  change?: SessionChange
  events?: EventRecord[]
}
export interface Failure {
  error: SandboxError
  events?: EventRecord[]
}
export type Outcome<Value = unknown> = Success<Value> | Failure

/** What ends a running command early; the reason of its abort signal. */
export type AbortCause = 'cancelled' | 'session_ended'

/** Rejects only for what the command itself does not turn into an outcome. */
export type Perform<Value = unknown> = (sandbox: Sandbox, signal: AbortSignal) => Promise<Outcome<Value>>

export interface Prepared<Value = unknown> {
  /** Recorded before the effect begins. */
  events?: EventRecord[]
  perform: Perform<Value>
}

/** What a command may read of its session. */
export type SessionView = Readonly<SessionContext>

interface Traits<Args> {
  readonly verb: string
  /** The phases in which it is carried out; in others it is refused. */
  readonly phases: readonly Phase[]
  /** Whether it starts the idle clock anew. */
  readonly activity: boolean
  /** Checks what the schema cannot express. Throws `invalid_argument`. */
  check?(args: Args): void
  /** Bytes of body that it takes; 0 where absent. */
  readonly maxBodyBytes?: number
  /** Checks arguments against the body. Throws `invalid_argument`. */
  checkBody?(args: Args, body: Uint8Array): void
  /** Whether it ends early when nobody waits for its answer any more. */
  readonly cancellable?: boolean
  /**
   * Whether the answer need not wait for the events that tell how the command went. Those recorded before its
   * effect are durable before the answer in any case.
   */
  readonly answersFirst?: boolean
}

interface Decides<Args, Value> {
  decide(session: SessionView, request: CommandRequest<Args>): Outcome<Value>
}
interface Performs<Args, Value> {
  prepare(session: SessionView, request: CommandRequest<Args>): Prepared<Value>
}
interface Ends {
  readonly ends: EndReason
}

type Body<Args, Value> = Decides<Args, Value> | Performs<Args, Value> | Ends

export type CommandDefinition<S extends TSchema = TSchema, Value = unknown> = { readonly schema: S } & Traits<
  Static<S>
> &
  Body<Static<S>, Value>

/** A definition as the machine sees it: arguments are checked by the time they get there. */
// biome-ignore lint/suspicious/noExplicitAny: arguments are contravariant, so only any admits every definition
export type AnyCommand = { readonly schema: TSchema } & Traits<any> & Body<any, unknown>

/** The arguments that a definition takes. */
export type ArgsOf<C extends AnyCommand> = Static<C['schema']>

/** Infers the types of arguments and value. */
export function defineCommand<const S extends TSchema, Value>(
  definition: CommandDefinition<S, Value>,
): CommandDefinition<S, Value> {
  return definition
}

export function isSuccess<Value>(outcome: Outcome<Value>): outcome is Success<Value> {
  return !('error' in outcome)
}
