/** Whatever comes in whatever order: what must always hold of a session. */
import test from 'ava'
import fc from 'fast-check'
import { SandboxError } from '../../../proto/errors.ts'
import { PureSession, records, replies, VERBS } from './pure-session.ts'

type Step =
  | { kind: 'command'; verb: string }
  | { kind: 'finish'; pick: number; fails: boolean }
  | { kind: 'cancel'; pick: number }
  | { kind: 'wait'; ms: number }
  | { kind: 'acquired' | 'destroyed'; fails: boolean }
  | { kind: 'lost' | 'end' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('command' as const), verb: fc.constantFrom(...VERBS) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('finish' as const), pick: fc.nat(), fails: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(400_000) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('acquired' as const, 'destroyed' as const),
      fails: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('lost' as const, 'end' as const) }) },
)

function apply(session: PureSession, one: Step, asked: string[]): void {
  const running = Object.keys(session.context.running)
  const failure = 'fails' in one && one.fails ? new SandboxError('sandbox_failed', 'it failed') : null
  switch (one.kind) {
    case 'command':
      asked.push(session.command(one.verb))
      break
    case 'finish': {
      const id = running[one.pick % running.length] ?? 'unknown'
      session.finish(id, failure === null ? { value: {} } : { error: failure })
      break
    }
    case 'cancel':
      session.send({
        type: 'cancel',
        commandId: running[one.pick % running.length] ?? 'unknown',
        at: session.at,
      })
      break
    case 'wait':
      session.at += one.ms
      session.deadline()
      break
    case 'acquired':
      session.acquired(failure)
      break
    case 'destroyed':
      session.destroyed(failure)
      break
    case 'lost':
      session.send({ type: 'lost', detail: 'init died', at: session.at })
      break
    case 'end':
      session.send({ type: 'end', reason: 'stopped', origin: null, at: session.at })
  }
}

/** Lets everything that was begun come to its end. */
function settle(session: PureSession): void {
  session.acquired()
  session.send({ type: 'end', reason: 'stopped', origin: null, at: session.at })
  for (const id of Object.keys(session.context.running)) session.finish(id)
  session.destroyed()
}

test('every request is answered exactly once, events are numbered without a gap, and the end is final', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const session = new PureSession()
      const asked = ['create']
      for (const one of steps) apply(session, one, asked)
      settle(session)
      const done = session.take()

      const answered = replies(done).map(({ commandId }) => commandId)
      t.deepEqual([...answered].sort(), [...asked].sort())
      t.deepEqual(
        records(done).map(({ sequence }) => sequence),
        records(done).map((_, index) => index + 1),
      )
      t.true(['gone', 'failed', 'lost'].includes(session.state))
      t.is(done.filter(({ type }) => type === 'release').length, 1)
      const ends = records(done).filter(({ record }) => /ended|create_failed/.test(record.type))
      t.is(ends.length, 1)
      t.is(session.status, 'active')
    }),
    { numRuns: 300 },
  )
})

test('a session with a command under way never has an expiry, one without always has', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const session = PureSession.ready()
      for (const one of steps) {
        apply(session, one, [])
        const isIdle = Object.keys(session.context.running).length === 0
        if (!session.state.startsWith('ready')) return
        t.is(session.state, isIdle ? 'ready.idle' : 'ready.busy')
        t.is(session.context.expiresAt === null, !isIdle)
      }
    }),
    { numRuns: 300 },
  )
})

test('the context is plain JSON at any time', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const session = PureSession.ready()
      for (const one of steps) apply(session, one, [])
      t.deepEqual(JSON.parse(JSON.stringify(session.context)), session.context)
    }),
    { numRuns: 100 },
  )
})
