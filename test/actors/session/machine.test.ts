import test from 'ava'
import type { Phase } from '../../../actors/session/context.ts'
import { DESTROY_TIMEOUT_MS, DRAIN_TIMEOUT_MS } from '../../../actors/session/decisions.ts'
import { SandboxError } from '../../../proto/errors.ts'
import { MAX_CONCURRENT_COMMANDS } from '../../../proto/limits.ts'
import { answerTo, GOOD_ARGS, ofType, PureSession, records, replies, VERBS } from './pure-session.ts'

const TTL_MS = 300_000

/** A session brought to each phase by the events that lead there. */
const PHASES: Record<Phase, () => PureSession> = {
  creating: () => new PureSession(),
  ready: () => PureSession.ready(),
  ending() {
    const session = PureSession.ready()
    session.command('delete')
    return session
  },
  gone() {
    const session = PHASES.ending()
    session.destroyed()
    return session
  },
  failed() {
    const session = new PureSession()
    session.acquired(new SandboxError('sandbox_failed', 'no cgroup'))
    return session
  },
  lost() {
    const session = PureSession.ready()
    session.send({ type: 'lost', detail: 'init died', at: session.at })
    session.destroyed()
    return session
  },
}

type Reaction = 'answered' | 'begun' | 'waits' | SandboxError['code']

const everywhere = (reaction: Reaction): Record<string, Reaction> =>
  Object.fromEntries(VERBS.map((verb) => [verb, reaction]))

/** The whole matrix: what each command meets in each phase. */
const MATRIX: Record<Phase, Record<string, Reaction>> = {
  creating: { ...everywhere('session_not_found'), get: 'answered', delete: 'waits', expire: 'waits' },
  ready: { ...everywhere('begun'), set_env: 'answered', get: 'answered', delete: 'waits', expire: 'waits' },
  ending: { ...everywhere('session_ending'), get: 'answered', delete: 'waits', expire: 'waits' },
  gone: everywhere('session_not_found'),
  failed: everywhere('session_not_found'),
  lost: everywhere('session_lost'),
}

for (const phase of Object.keys(PHASES) as Phase[]) {
  for (const verb of VERBS) {
    const expected = MATRIX[phase][verb]
    test(`${phase} × ${verb}: ${expected}`, (t) => {
      const session = PHASES[phase]()
      t.is(session.state.split('.')[0], phase)
      const before = session.state
      session.take()
      const id = session.command(verb)
      const done = session.take()
      const answer = answerTo(done, id)
      const isBegun = Object.hasOwn(session.context.running, id)
      const isWaiting = session.context.endWaiters.includes(id)
      const reaction =
        answer === 'ok' ? 'answered' : (answer ?? (isBegun ? 'begun' : isWaiting ? 'waits' : 'lost'))
      t.is(reaction, expected as string)
      t.is(isBegun, expected === 'begun')
      t.is(isWaiting, expected === 'waits')
      t.is(session.status, 'active')
      // What is refused changes nothing and is not recorded.
      if (expected?.includes('_')) {
        t.is(session.state, before)
        t.deepEqual(records(done), [])
      }
    })
  }
}

test('the matrix names every command', (t) => {
  t.deepEqual(Object.keys(GOOD_ARGS).sort(), [...VERBS].sort())
})

test('created: recorded, answered when durable, and the idle clock starts', (t) => {
  const session = new PureSession({ args: { env: { A: '1' }, ttl_secs: 10, metadata: { k: 'v' } } })
  session.take()
  session.at += 5
  session.acquired()
  const done = session.take()
  t.is(session.state, 'ready.idle')
  t.deepEqual(records(done), [
    {
      sessionId: 's1',
      tenant: 'default',
      sequence: 1,
      at: session.at,
      origin: { requestId: 'r0', actor: 'http' },
      record: {
        type: 'session.created',
        data: { ttl_secs: 10, env_names: ['A'], metadata: { k: 'v' }, network: 'none' },
      },
    },
  ])
  t.deepEqual(replies(done), [
    {
      sessionId: 's1',
      commandId: 'create',
      result: { value: { session_id: 's1', preview_url: null } },
      durableSequence: 1,
    },
  ])
  t.is(session.context.expiresAt, session.at + 10_000)
  t.deepEqual(ofType(done, 'arm'), [{ sessionId: 's1', at: session.at + 10_000 }])
})

test('creation that fails: recorded, answered, released; who wanted its end has it', (t) => {
  const session = new PureSession()
  const deleting = session.command('delete')
  session.take()
  session.acquired(new SandboxError('sandbox_failed', 'no cgroup'))
  const done = session.take()
  t.is(session.state, 'failed')
  t.is(answerTo(done, 'create'), 'sandbox_failed')
  t.is(answerTo(done, deleting), 'ok')
  t.deepEqual(
    records(done).map(({ record }) => record),
    [{ type: 'session.create_failed', data: { code: 'sandbox_failed', detail: 'no cgroup' } }],
  )
  t.deepEqual(ofType(done, 'release'), [{ sessionId: 's1' }])
})

test('deleted while it is created: the sandbox is destroyed as soon as it is there', (t) => {
  const session = new PureSession()
  const deleting = session.command('delete')
  t.is(session.state, 'creating')
  session.take()
  session.acquired()
  t.is(session.state, 'ending.destroying')
  t.is(answerTo(session.take(), 'create'), 'session_ending')
  session.destroyed()
  t.is(session.state, 'gone')
  t.is(answerTo(session.take(), deleting), 'ok')
})

test('run: its beginning is recorded first and durable before the answer, its end may follow', (t) => {
  const session = PureSession.ready()
  const id = session.command('run', { command: ['true'] })
  t.is(session.state, 'ready.busy')
  t.deepEqual(
    records(session.take()).map(({ sequence, record }) => [sequence, record.type]),
    [[2, 'run.started']],
  )
  session.finish(id, { value: { x: 1 }, events: [{ type: 'session.cwd_set', data: { cwd: '/' } }] })
  const done = session.take()
  t.is(session.state, 'ready.idle')
  t.is(session.context.sequence, 3)
  t.deepEqual(replies(done), [
    { sessionId: 's1', commandId: id, result: { value: { x: 1 } }, durableSequence: 2 },
  ])
})

test('set_cwd applies when the sandbox has agreed, and its event is durable before the answer', (t) => {
  const session = PureSession.ready()
  const id = session.command('set_cwd', { cwd: '/tmp' })
  t.is(session.context.cwd, '/')
  session.take()
  session.finish(id, {
    value: {},
    change: { cwd: '/tmp' },
    events: [{ type: 'session.cwd_set', data: { cwd: '/tmp' } }],
  })
  t.is(session.context.cwd, '/tmp')
  t.is(replies(session.take())[0]?.durableSequence, 2)
})

test('set_cwd that fails changes nothing', (t) => {
  const session = PureSession.ready()
  const id = session.command('set_cwd', { cwd: '/nowhere' })
  session.take()
  session.finish(id, { error: new SandboxError('path_not_found', '/nowhere does not exist') })
  t.is(session.context.cwd, '/')
  t.is(answerTo(session.take(), id), 'path_not_found')
  t.is(session.state, 'ready.idle')
})

test('set_env merges and records names only', (t) => {
  const session = PureSession.ready({ args: { env: { A: '1', B: '2' } } })
  session.command('set_env', { env: { B: 'secret', C: '3' } })
  t.deepEqual(session.context.env, { A: '1', B: 'secret', C: '3' })
  const [entry] = records(session.take())
  t.deepEqual(entry?.record, { type: 'session.env_set', data: { env_names: ['B', 'C'] } })
})

test('commands run beside one another up to the bound', (t) => {
  const session = PureSession.ready()
  const ids = Array.from({ length: MAX_CONCURRENT_COMMANDS }, () => session.command('run'))
  session.take()
  const refused = session.command('files_read')
  t.is(answerTo(session.take(), refused), 'too_many_runs')
  t.is(session.answer('get'), 'ok')
  session.finish(ids[0] as string)
  t.is(session.state, 'ready.busy')
  const accepted = session.command('run')
  t.true(Object.hasOwn(session.context.running, accepted))
  for (const id of [...ids.slice(1), accepted]) session.finish(id)
  t.is(session.state, 'ready.idle')
})

test('a command that finds fault with its request in view of the session is answered so', async (t) => {
  const value = 'x'.repeat(100_000)
  const env = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`V${index}`, value]))
  const session = PureSession.ready({ args: { env } })
  session.take()
  const id = session.command('set_env', { env: { MORE: value } })
  t.is(answerTo(session.take(), id), 'invalid_argument')
  t.deepEqual(session.context.env, env)
  const running = session.command('run', { command: ['a'], env: { MORE: value } })
  const [spawned] = ofType<{ input: { perform: () => Promise<unknown> } }>(
    session.take(),
    'xstate.spawnChild',
  )
  const outcome = (await spawned?.input.perform()) as { error: SandboxError }
  t.is(outcome.error.code, 'invalid_argument')
  session.finish(running, outcome)
  t.is(answerTo(session.take(), running), 'invalid_argument')
  t.is(session.context.sequence, 1)
})

test('expiry: the idle clock starts anew with activity, not with get, and never runs under a command', (t) => {
  const session = PureSession.ready()
  const start = session.at
  session.at = start + 100_000
  session.command('get')
  t.is(session.context.expiresAt, start + TTL_MS)
  session.command('set_env')
  t.is(session.context.expiresAt, start + 100_000 + TTL_MS)
  const id = session.command('run')
  t.is(session.context.expiresAt, null)
  session.at += 10 * TTL_MS
  session.command('get')
  session.command('set_env')
  t.is(session.context.expiresAt, null)
  session.deadline()
  t.is(session.state, 'ready.busy')
  session.finish(id)
  t.is(session.context.expiresAt, session.at + TTL_MS)
  session.at += TTL_MS - 1
  session.deadline()
  t.is(session.state, 'ready.idle')
  session.at += 1
  session.deadline()
  t.is(session.state, 'ending.destroying')
  session.destroyed()
  t.deepEqual(records(session.take()).at(-1)?.record, { type: 'session.ended', data: { reason: 'expired' } })
})

test('delete under commands: they are aborted, drained, and only then the sandbox goes', (t) => {
  const session = PureSession.ready()
  const runs = [session.command('run'), session.command('run')]
  session.take()
  const first = session.command('delete')
  t.is(session.state, 'ending.draining')
  const aborts = ofType<{ targetId: string; event: unknown }>(session.take(), 'xstate.sendTo')
  t.deepEqual(
    aborts.map(({ targetId, event }) => [targetId, event]),
    runs.map((id) => [id, { type: 'abort', cause: 'session_ended' }]),
  )
  const second = session.command('expire')
  session.finish(runs[0] as string)
  t.is(session.state, 'ending.draining')
  session.finish(runs[1] as string)
  t.is(session.state, 'ending.destroying')
  t.is(answerTo(session.take(), first), undefined)
  session.destroyed()
  const done = session.take()
  t.is(answerTo(done, first), 'ok')
  t.is(answerTo(done, second), 'ok')
  t.is(replies(done)[0]?.durableSequence, session.context.sequence)
  t.deepEqual(records(done)[0]?.record, { type: 'session.ended', data: { reason: 'deleted' } })
  t.deepEqual(records(done)[0]?.origin, { requestId: 'r3', actor: 'http' })
  t.deepEqual(ofType(done, 'release'), [{ sessionId: 's1' }])
})

test('commands that do not end, and a sandbox that does not go, are given up in time', (t) => {
  const session = PureSession.ready()
  const stuck = session.command('run')
  const deleting = session.command('delete')
  session.at += DRAIN_TIMEOUT_MS - 1
  session.deadline()
  t.is(session.state, 'ending.draining')
  session.at += 1
  session.deadline()
  t.is(session.state, 'ending.destroying')
  session.at += DESTROY_TIMEOUT_MS
  session.take()
  session.deadline()
  t.is(session.state, 'gone')
  const done = session.take()
  t.is(answerTo(done, stuck), 'internal')
  t.is(answerTo(done, deleting), 'internal')
})

test('a sandbox that cannot be destroyed is told to who deletes', (t) => {
  const session = PureSession.ready()
  const deleting = session.command('delete')
  session.take()
  session.destroyed(new SandboxError('sandbox_failed', 'cgroup is busy'))
  const done = session.take()
  t.is(answerTo(done, deleting), 'sandbox_failed')
  t.deepEqual(records(done)[0]?.record, {
    type: 'session.ended',
    data: { reason: 'deleted', detail: 'cgroup is busy' },
  })
})

test('lost: commands end, everything is cleared away, and the reason stands in the event', (t) => {
  const session = PureSession.ready()
  const id = session.command('run')
  session.send({ type: 'lost', detail: 'init died', at: session.at })
  t.is(session.state, 'ending.draining')
  session.take()
  t.is(session.answer('run'), 'session_lost')
  session.finish(id)
  session.destroyed()
  t.is(session.state, 'lost')
  t.deepEqual(records(session.take())[0]?.record, {
    type: 'session.ended',
    data: { reason: 'lost', detail: 'init died' },
  })
})

test('the worker ends a session that is ready, or is still created', (t) => {
  const ready = PureSession.ready()
  ready.send({ type: 'end', reason: 'stopped', origin: null, at: ready.at })
  t.is(ready.state, 'ending.destroying')
  ready.take()
  t.is(ready.answer('run'), 'stopping')
  ready.destroyed()
  t.deepEqual(records(ready.take())[0]?.record, { type: 'session.ended', data: { reason: 'stopped' } })

  const creating = new PureSession()
  creating.send({ type: 'end', reason: 'stopped', origin: null, at: creating.at })
  creating.take()
  creating.acquired()
  t.is(creating.state, 'ending.destroying')
  t.is(answerTo(creating.take(), 'create'), 'stopping')
})

test('cancel aborts that command only; of one that is over it does nothing', (t) => {
  const session = PureSession.ready()
  const [first, second] = [session.command('run'), session.command('run')]
  session.take()
  session.send({ type: 'cancel', commandId: first, at: session.at })
  const aborts = ofType<{ targetId: string; event: unknown }>(session.take(), 'xstate.sendTo')
  t.deepEqual(
    aborts.map(({ targetId, event }) => [targetId, event]),
    [[first, { type: 'abort', cause: 'cancelled' }]],
  )
  session.finish(first)
  session.finish(second)
  session.take()
  session.send({ type: 'cancel', commandId: first, at: session.at })
  t.deepEqual(session.take(), [])
})

test('waiters for the end are bounded', (t) => {
  const session = PureSession.ready()
  for (let index = 0; index < MAX_CONCURRENT_COMMANDS; index += 1) session.command('delete')
  session.take()
  const refused = session.command('delete')
  t.is(answerTo(session.take(), refused), 'too_many_runs')
  t.is(session.context.endWaiters.length, MAX_CONCURRENT_COMMANDS)
})
