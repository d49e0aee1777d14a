import { setImmediate as turnOver } from 'node:timers/promises'
import test from 'ava'
import pino from 'pino'
import type { JournalEntry } from '../../actors/session/outside.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import { Journal, MAX_EVENT_BACKLOG } from '../../src/worker/journal.ts'

const entry = (sequence: number): JournalEntry => ({
  sessionId: 's',
  tenant: 'default',
  sequence,
  at: 0,
  origin: null,
  record: { type: 'session.cwd_set', data: { cwd: '/' } },
})

/** A stream whose acknowledgements the test gives. */
function manual() {
  const sent: number[] = []
  const acks = new Map<number, { resolve(): void; reject(error: Error): void }>()
  const events = {
    append: ({ sequence }: SandboxEvent) =>
      new Promise<void>((resolve, reject) => {
        sent.push(sequence)
        acks.set(sequence, { resolve, reject })
      }),
    async *read() {},
  }
  return { sent, acks, journal: new Journal(events, pino({ level: 'silent' }), 'urn:test') }
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const note = () => {
    settled = true
  }
  promise.then(note, note)
  await new Promise((resolve) => setImmediate(resolve))
  return settled
}

test('events are sent in order without waiting, and durable only with all before them', async (t) => {
  const { sent, acks, journal } = manual()
  for (const sequence of [1, 2, 3]) journal.record(entry(sequence))
  await turnOver()
  t.deepEqual(sent, [1, 2, 3])
  acks.get(2)?.resolve()
  const second = journal.durable(2)
  t.false(await isSettled(second))
  acks.get(1)?.resolve()
  await second
  t.false(await isSettled(journal.flushed()))
  acks.get(3)?.resolve()
  await journal.flushed()
  await journal.durable(3)
  await journal.durable(0)
  t.pass()
})

test('an event that is not kept is told to who waits for it, not to who waits for the next', async (t) => {
  const { acks, journal } = manual()
  journal.record(entry(1))
  journal.record(entry(2))
  await turnOver()
  const [first, second] = [journal.durable(1), journal.durable(2)]
  acks.get(1)?.reject(new Error('stream is full'))
  acks.get(2)?.resolve()
  await t.throwsAsync(first, { message: 'stream is full' })
  await second
  await journal.flushed()
})

test('answers wait while too many events are under way', async (t) => {
  const { acks, journal } = manual()
  for (let sequence = 1; sequence <= MAX_EVENT_BACKLOG + 1; sequence += 1) journal.record(entry(sequence))
  await turnOver()
  const answer = journal.durable(0)
  t.false(await isSettled(answer))
  acks.get(1)?.resolve()
  await answer
  t.pass()
})
