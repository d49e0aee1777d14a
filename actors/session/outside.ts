/** What a session asks of the worker that holds it. Every call names the session; none may throw. */
import type { SandboxError } from '../../proto/errors.ts'
import type { EventRecord } from '../../proto/events.ts'
import type { Network } from '../../proto/session.ts'
import type { Sandbox } from '../ports.ts'
import type { Origin } from './context.ts'

export interface JournalEntry {
  sessionId: string
  tenant: string
  /** 1, 2, 3 … of this session. */
  sequence: number
  at: number
  origin: Origin | null
  record: EventRecord
}

export interface Reply {
  sessionId: string
  commandId: string
  result: { value: unknown; body?: Uint8Array } | { error: SandboxError }
  /** Answer no sooner than the event of this number is durable; 0 = at once. */
  durableSequence: number
}

export interface SessionOutside {
  /** Absolute ms. */
  now(): number
  /** Takes a sandbox for the session and keeps it under its id. Rejects with SandboxError. */
  acquire(request: { sessionId: string; network: Network }): Promise<void>
  /** The sandbox that was acquired. */
  sandboxOf(sessionId: string): Sandbox
  /** Resolves when everything of the session's sandbox is gone. */
  destroy(sessionId: string): Promise<void>
  record(entry: JournalEntry): void
  reply(reply: Reply): void
  /** A `deadline` event is wanted at that time, or none. Replaces the session's earlier wish. */
  arm(request: { sessionId: string; at: number | null }): void
  /** The session has reached one of its last states and needs nothing more. */
  release(request: { sessionId: string }): void
}
