/**
 * What a session asks of the outside: entries for the journal, replies, the clock, the release of the sandbox. All
 * as values, which the machine carries out.
 */
import type { EventRecord } from '../../proto/events.ts'
import { isSuccess, type Outcome } from './command.ts'
import type { Origin, SessionContext } from './context.ts'
import type { JournalEntry, Reply } from './outside.ts'

export type Context = Readonly<SessionContext>

export type Ask =
  | { type: 'record'; params: JournalEntry }
  | { type: 'reply'; params: Reply }
  | { type: 'arm'; params: { sessionId: string; at: number | null } }
  | { type: 'release'; params: { sessionId: string } }

export function record(
  { sessionId, tenant, sequence }: Context,
  events: EventRecord[],
  origin: Origin | null,
  at: number,
): { sequence: number; asks: Ask[] } {
  const asks = events.map((event, index): Ask => {
    const entry = { sessionId, tenant, sequence: sequence + index + 1, at, origin, record: event }
    return { type: 'record', params: entry }
  })
  return { sequence: sequence + events.length, asks }
}

export function reply(
  { sessionId }: Context,
  commandId: string,
  result: Reply['result'],
  durableSequence: number,
): Ask {
  return { type: 'reply', params: { sessionId, commandId, result, durableSequence } }
}

export const arm = ({ sessionId }: Context, at: number | null): Ask => ({
  type: 'arm',
  params: { sessionId, at },
})

export function resultOf(outcome: Outcome): Reply['result'] {
  if (!isSuccess(outcome)) return { error: outcome.error }
  const { value, body } = outcome
  return body === undefined ? { value } : { value, body }
}

export function originOf({ requestId, actor }: Origin): Origin {
  return { requestId, actor }
}
