import test, { type ExecutionContext } from 'ava'
import pino from 'pino'
import { SandboxError } from '../../proto/errors.ts'
import type { CreateResult, SessionInfo } from '../../proto/session.ts'
import { subjects } from '../../proto/subjects.ts'
import { startWorker, type WorkerOptions } from '../../src/worker/start-worker.ts'
import { FakeProvider } from './fake-sandbox.ts'
import { MemoryBus, MemoryLog } from './memory-bus.ts'

const TENANT = 'default'

function set(t: ExecutionContext, options: Partial<WorkerOptions> = {}) {
  const bus = new MemoryBus()
  const events = new MemoryLog()
  const provider = new FakeProvider()
  const worker = startWorker({
    bus,
    events,
    provider,
    log: pino({ level: 'silent' }),
    workerId: 'w1',
    maxSessions: 4,
    maxRunning: 3,
    previewDomain: null,
    allowHostNetwork: false,
    limits: { cpu: 'cgroup1' },
    version: '1.2.3',
    ...options,
  })
  t.teardown(() => worker.stop(0))
  const create = async (args: unknown = {}, tenant = TENANT) => {
    const { value } = await bus.request(subjects.control(tenant, 'create'), args)
    return (value as CreateResult).session_id
  }
  const command = (id: string, verb: string, args: unknown = {}, body?: Uint8Array, signal?: AbortSignal) =>
    bus.request(subjects.command(TENANT, id, verb), args, body, signal)
  const run = async (id: string, ...argv: string[]) => {
    const { value, body } = await command(id, 'run', { command: argv })
    return { ...(value as Record<string, unknown>), text: Buffer.from(body).toString() }
  }
  const runOnce = (args: unknown, body?: Uint8Array) =>
    bus.request(subjects.control(TENANT, 'run'), args, body)
  return { bus, events, provider, worker, create, command, run, runOnce }
}

const problem = (code: string, field?: string) => ({
  instanceOf: SandboxError,
  code,
  ...(field === undefined ? {} : { message: new RegExp(`^${field.replace(/[.[\]]/g, '\\$&')}: `) }),
})

const settle = () => new Promise((resolve) => setImmediate(resolve))

test('a session is created, runs, keeps its variables and directory, and is deleted', async (t) => {
  const { create, command, run, events, provider, bus } = set(t, { previewDomain: 'preview.example' })
  const { value } = await bus.request(subjects.control(TENANT, 'create'), { env: { A: '1' }, ttl_secs: 60 })
  const { session_id: id, preview_url } = value as CreateResult
  t.regex(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.is(preview_url, `http://${id}.preview.example`)

  t.deepEqual((await command(id, 'set_env', { env: { B: '2' } })).value, {})
  t.deepEqual((await command(id, 'set_cwd', { cwd: '/tmp' })).value, {})
  t.is((await run(id, 'env')).text, '{"A":"1","B":"2"}')
  t.is((await run(id, 'pwd')).text, '/tmp')
  const { value: meta, body } = await command(id, 'run', { command: ['cat'] }, Buffer.from('in'))
  const { run_id, ...rest } = meta as Record<string, unknown>
  t.is(typeof run_id, 'string')
  t.deepEqual(rest, {
    exit_code: 3,
    signal: null,
    cause: 'exited',
    error: null,
    usage: { cpu_ms: 1, wall_ms: 2, memory_peak_kb: 3 },
    stdout_bytes: 2,
    stderr_bytes: 4,
    stdout_truncated: false,
    stderr_truncated: false,
  })
  t.is(Buffer.from(body).toString(), 'indone')

  t.deepEqual((await command(id, 'delete')).value, {})
  t.true(provider.last.destroyed)
  await t.throwsAsync(command(id, 'get'), { message: /no responder/ })
  t.deepEqual(events.types(id), [
    'session.created',
    'session.env_set',
    'session.cwd_set',
    'run.started',
    'run.finished',
    'run.started',
    'run.finished',
    'run.started',
    'run.finished',
    'session.ended',
  ])
  t.deepEqual(
    events.of(id).map((event) => event.id),
    Array.from({ length: 10 }, (_, index) => `${id}.${index + 1}`),
  )
  t.false(JSON.stringify(events.kept).includes('"A":"1"'))
  t.is(typeof (await create()), 'string')
})

test('an event is a complete CloudEvent', async (t) => {
  const { create, events } = set(t, { now: () => 1_700_000_000_000 })
  const id = await create({ env: { SECRET: 'x' }, metadata: { team: 'blue' } })
  t.deepEqual(events.of(id), [
    {
      specversion: '1.0',
      id: `${id}.1`,
      source: 'urn:opensandbox:worker:w1',
      type: 'dev.opensandbox.session.created',
      subject: id,
      time: '2023-11-14T22:13:20.000Z',
      datacontenttype: 'application/json',
      tenant: 'default',
      sequence: 1,
      requestid: 'request-1',
      actor: 'test',
      data: { ttl_secs: 300, env_names: ['SECRET'], metadata: { team: 'blue' }, network: 'none' },
    },
  ])
})

test('files are written and read as bytes, one by one and in bulk', async (t) => {
  const { create, command, events } = set(t)
  const id = await create()
  const bytes = Uint8Array.from([0, 255, 10, 128])
  await command(id, 'files_write', { path: '/a' }, bytes)
  t.deepEqual((await command(id, 'files_read', { path: '/a' })).body, bytes)
  const files = [
    { path: '/b', size: 1 },
    { path: 'relative', size: 1 },
    { path: '/tmp', size: 1 },
    { path: '/c', size: 2 },
  ]
  const { value } = await command(id, 'files_write_bulk', { files }, Buffer.from('bXXcc'))
  t.deepEqual(value, {
    success: false,
    errors: [
      { path: 'relative', error: 'path: must be an absolute path' },
      { path: '/tmp', error: '/tmp is a directory' },
    ],
  })
  t.is(Buffer.from((await command(id, 'files_read', { path: '/c' })).body).toString(), 'cc')
  t.deepEqual(
    ((await command(id, 'files_list', { path: '/' })).value as { files: unknown[] }).files.length,
    3,
  )
  await t.throwsAsync(command(id, 'files_read', { path: '/none' }), problem('path_not_found'))
  const short = command(id, 'files_write_bulk', { files: [{ path: '/b', size: 9 }] }, Buffer.from('x'))
  await t.throwsAsync(short, problem('invalid_argument', 'files'))
  t.is(events.types(id).filter((type) => type === 'session.file_written').length, 3)
})

test('bad input is refused by the name of its field', async (t) => {
  const { create, command, bus, runOnce } = set(t)
  const id = await create()
  const bad: [string, unknown, string][] = [
    ['run', {}, 'command'],
    ['run', { command: null }, 'command'],
    ['run', { command: ['a', 3] }, 'command[1]'],
    ['run', { command: ['a\0'] }, 'command[0]'],
    ['run', { command: [''] }, 'command[0]'],
    ['run', { command: ['a'], env: { 'A=B': 'c' } }, 'env.A=B'],
    ['run', { command: ['a'], env: { A: 'x\0' } }, 'env.A'],
    ['run', { command: ['a'], env: { A: 1 } }, 'env.A'],
    ['run', { command: ['a'], cwd: 'tmp' }, 'cwd'],
    ['run', { command: ['a'], time: 0 }, 'time'],
    ['run', { command: ['a'], tme: 1 }, 'tme'],
    ['set_env', {}, 'env'],
    ['set_env', { env: { '': 'x' } }, 'env'],
    ['set_cwd', { cwd: '' }, 'cwd'],
    ['files_write', { path: 'a' }, 'path'],
    ['no_such_verb', {}, 'verb'],
    ['constructor', {}, 'verb'],
    ['get', { a: 1 }, 'a'],
  ]
  for (const [verb, args, field] of bad) {
    await t.throwsAsync(command(id, verb, args), problem('invalid_argument', field), `${verb} ${field}`)
  }
  const create_ = (args: unknown) => bus.request(subjects.control(TENANT, 'create'), args)
  await t.throwsAsync(create_({ network: 'host' }), problem('invalid_argument', 'network'))
  await t.throwsAsync(create_({ network: 'wifi' }), problem('invalid_argument', 'network'))
  await t.throwsAsync(create_({ ttl_secs: 0 }), problem('invalid_argument', 'ttl_secs'))
  await t.throwsAsync(create_({ limits: { time: 'x' } }), problem('invalid_argument', 'limits.time'))
  await t.throwsAsync(runOnce({ command: [] }), problem('invalid_argument', 'command'))
  await t.throwsAsync(runOnce([]), problem('invalid_argument'))
  await t.throwsAsync(command(id, 'set_env', { env: {} }, Buffer.from('x')), problem('payload_too_large'))
  t.deepEqual((await command(id, 'run', { command: ['true'], env: null, time: null })).body.length, 0)
})

test('the host network is there where the operator allows it', async (t) => {
  const { create, provider } = set(t, { allowHostNetwork: true })
  await create({ network: 'host' })
  t.deepEqual(provider.last.spec, { network: 'host' })
})

test('a one-shot run gets a fresh sandbox, answers before it is gone, and is recorded', async (t) => {
  const { runOnce, provider, events, worker } = set(t)
  let release = () => {}
  provider.destroying = new Promise((resolve) => {
    release = resolve
  })
  const { value, body } = await runOnce({ command: ['echo', 'hi'] })
  const { run_id, cause } = value as { run_id: string; cause: string }
  t.is(cause, 'exited')
  t.is(Buffer.from(body).toString(), 'hi\n')
  t.false(provider.last.destroyed)
  t.is(worker.info().sessions, 1)
  release()
  await settle()
  t.true(provider.last.destroyed)
  t.is(worker.info().sessions, 0)
  t.deepEqual(events.types(run_id), ['run.started', 'run.finished'])
  t.deepEqual(
    events.of(run_id).map(({ sequence, data }) => [sequence, (data as { one_shot: boolean }).one_shot]),
    [
      [1, true],
      [2, true],
    ],
  )
})

test('an answer waits until the beginning of its run is durable, not for the end', async (t) => {
  const { create, run, events } = set(t)
  const id = await create()
  let release = () => {}
  events.appending = new Promise((resolve) => {
    release = resolve
  })
  let answered = false
  const running = run(id, 'echo').then(() => {
    answered = true
  })
  await settle()
  t.false(answered)
  release()
  await running
  events.appending = Promise.resolve()
  await settle()
  t.deepEqual(events.types(id), ['session.created', 'run.started', 'run.finished'])
})

test('a run whose beginning cannot be recorded is an error', async (t) => {
  const { create, run, events } = set(t)
  const id = await create()
  events.failure = new SandboxError('bus_unavailable', 'gone')
  await t.throwsAsync(run(id, 'echo'), problem('bus_unavailable'))
})

test('what breaks on our side is an internal error, and its run is recorded as ended', async (t) => {
  const { create, run, events, runOnce } = set(t)
  const id = await create()
  await t.throwsAsync(run(id, 'broken'), problem('internal'))
  await settle()
  t.deepEqual(events.types(id), ['session.created', 'run.started', 'run.finished'])
  await t.throwsAsync(runOnce({ command: ['broken'] }), problem('internal'))
  t.is((await run(id, 'echo', 'alive')).text, 'alive\n')
})

test('a full worker leaves the groups and comes back', async (t) => {
  const { create, command, bus } = set(t, { maxSessions: 1 })
  const groups = () => [...bus.subscriptions].filter(({ queue }) => queue === 'workers').length
  t.is(groups(), 2)
  const id = await create()
  t.is(groups(), 0)
  await command(id, 'delete')
  t.is(groups(), 2)
})

test('a worker that runs as much as it may refuses more runs and leaves the group of one-shots', async (t) => {
  const { create, command, run, runOnce, worker } = set(t, { maxRunning: 1 })
  const id = await create()
  const sleeping = run(id, 'sleep')
  await settle()
  t.is(worker.info().running, 1)
  await t.throwsAsync(run(id, 'echo'), problem('too_many_runs'))
  await t.throwsAsync(runOnce({ command: ['echo'] }), { message: /no responder/ })
  await command(id, 'delete')
  t.is(((await sleeping) as { cause?: string }).cause, 'session_ended')
})

test('a sandbox that cannot be had is an error, an event, and gives its room back', async (t) => {
  const { create, provider, events, worker } = set(t)
  provider.failure = new SandboxError('sandbox_failed', 'no cgroup')
  await t.throwsAsync(create(), problem('sandbox_failed'))
  t.deepEqual(
    events.kept.map(({ type, data }) => [type, data]),
    [['dev.opensandbox.session.create_failed', { code: 'sandbox_failed', detail: 'no cgroup' }]],
  )
  t.is(worker.info().sessions, 0)
})

test('delete under running commands: they end with session_ended, all waiters are answered when all is gone', async (t) => {
  const { create, command, run, provider, events } = set(t)
  const id = await create()
  let release = () => {}
  provider.destroying = new Promise((resolve) => {
    release = resolve
  })
  const runs = [run(id, 'sleep'), run(id, 'sleep')]
  await settle()
  let deleted = 0
  const deletes = [command(id, 'delete'), command(id, 'delete')].map((answer) =>
    answer.then(() => {
      deleted += 1
    }),
  )
  const ended = (await Promise.all(runs)) as { cause?: string; signal?: number }[]
  t.deepEqual(
    ended.map(({ cause, signal }) => [cause, signal]),
    [
      ['session_ended', 9],
      ['session_ended', 9],
    ],
  )
  await t.throwsAsync(run(id, 'echo'), problem('session_ending'))
  t.is(((await command(id, 'get')).value as SessionInfo).status, 'terminating')
  t.is(deleted, 0)
  release()
  await Promise.all(deletes)
  t.true(provider.last.destroyed)
  t.deepEqual(events.of(id).at(-1)?.data, { reason: 'deleted' })
})

test('a lost sandbox ends its runs with a result and the session with the reason lost', async (t) => {
  const { create, run, provider, events, bus, worker } = set(t)
  const id = await create()
  const running = run(id, 'sleep')
  await settle()
  provider.last.lose('init was killed')
  const { cause, error } = (await running) as { cause?: string; error?: string }
  t.deepEqual([cause, error], ['session_ended', 'init was killed'])
  await settle()
  t.deepEqual(events.of(id).at(-1)?.data, { reason: 'lost', detail: 'init was killed' })
  t.false([...bus.subscriptions].some(({ subject }) => subject.includes(id)))
  t.is(worker.info().sessions, 0)
})

test('a session expires after its idle time, not under a running command', async (t) => {
  const { create, command, events, bus } = set(t)
  const id = await create({ ttl_secs: 1 })
  const abort = new AbortController()
  const sleeping = command(id, 'run', { command: ['sleep'] }, undefined, abort.signal)
  await new Promise((resolve) => setTimeout(resolve, 1_300))
  const info = (await command(id, 'get')).value as SessionInfo
  t.deepEqual([info.status, info.expires_at, info.idle_secs], ['running', null, 0])
  abort.abort()
  t.is(((await sleeping).value as { cause: string }).cause, 'cancelled')
  const last = () => events.of(id).at(-1)
  while (last()?.type !== 'dev.opensandbox.session.ended')
    await new Promise((resolve) => setTimeout(resolve, 10))
  t.deepEqual(last()?.data, { reason: 'expired' })
  const finished = events.of(id).find(({ type }) => type === 'dev.opensandbox.run.finished')
  t.true(Date.parse(last()?.time ?? '') - Date.parse(finished?.time ?? '') >= 1_000)
  t.false([...bus.subscriptions].some(({ subject }) => subject.includes(id)))
})

test('expire on the bus ends the session at once', async (t) => {
  const { create, command, run, events } = set(t)
  const id = await create()
  const running = run(id, 'sleep')
  await command(id, 'expire')
  t.is(((await running) as { cause?: string }).cause, 'session_ended')
  t.deepEqual(events.of(id).at(-1)?.data, { reason: 'expired' })
})

test('a session whose creator went away does not stay', async (t) => {
  const { bus, provider, worker } = set(t)
  let release = () => {}
  provider.acquiring = new Promise((resolve) => {
    release = resolve
  })
  const abort = new AbortController()
  const creating = bus.request(subjects.control(TENANT, 'create'), {}, undefined, abort.signal)
  abort.abort()
  release()
  await t.throwsAsync(creating, problem('session_ending'))
  await settle()
  t.true(provider.last.destroyed)
  t.is(worker.info().sessions, 0)
})

test('a tenant neither sees nor reaches the sessions of another', async (t) => {
  const { create, bus } = set(t)
  const mine = await create({ metadata: { a: 'b' } }, 'mine')
  const theirs = await create({}, 'theirs')
  const list = (await bus.request(subjects.list('mine'))).value as SessionInfo[]
  t.deepEqual(
    list.map(({ id, metadata, worker }) => ({ id, metadata, worker })),
    [{ id: mine, metadata: { a: 'b' }, worker: 'w1' }],
  )
  await t.throwsAsync(bus.request(subjects.command('mine', theirs, 'get')), { message: /no responder/ })
})

test('a worker tells of itself when it starts, on a census and when it stops', async (t) => {
  const { bus, worker } = set(t)
  const expected = {
    id: 'w1',
    sessions: 0,
    max_sessions: 4,
    running: 0,
    draining: false,
    limits: { cpu: 'cgroup1' },
    version: '1.2.3',
  }
  t.deepEqual((await bus.request(subjects.workerCensus())).value, expected)
  await worker.stop(0)
  t.deepEqual(bus.published, [
    { subject: subjects.workerInfo('w1'), value: expected },
    { subject: subjects.workerInfo('w1'), value: expected },
    { subject: subjects.workerInfo('w1'), value: { ...expected, draining: true } },
    { subject: subjects.workerInfo('w1'), value: { ...expected, draining: true, stopped: true } },
  ])
})

test('stop waits for what runs, refuses what is new, ends the sessions and leaves nothing', async (t) => {
  const { create, command, run, runOnce, worker, provider, events, bus } = set(t)
  const id = await create()
  const abort = new AbortController()
  const sleeping = command(id, 'run', { command: ['sleep'] }, undefined, abort.signal)
  await settle()
  const stopped = worker.stop(60_000)
  await settle()
  await t.throwsAsync(run(id, 'echo'), problem('stopping'))
  await t.throwsAsync(runOnce({ command: ['echo'] }), { message: /no responder/ })
  t.is(((await command(id, 'get')).value as SessionInfo).status, 'running')
  abort.abort()
  t.is(((await sleeping).value as { cause: string }).cause, 'cancelled')
  await stopped
  t.true(provider.sandboxes.every(({ destroyed }) => destroyed))
  t.deepEqual(events.of(id).at(-1)?.data, { reason: 'stopped' })
  t.is(bus.subscriptions.size, 0)
  t.deepEqual([worker.info().sessions, worker.info().running], [0, 0])
})

test('hurry ends the wait of stop', async (t) => {
  const { create, run, runOnce, worker, provider } = set(t)
  const id = await create()
  const running = [run(id, 'sleep'), runOnce({ command: ['sleep'] }).then(({ value }) => value)]
  await settle()
  const stopped = worker.stop(60_000)
  worker.hurry()
  await stopped
  t.deepEqual(
    (await Promise.all(running)).map((value) => (value as { cause: string }).cause),
    ['session_ended', 'session_ended'],
  )
  t.true(provider.sandboxes.every(({ destroyed }) => destroyed))
})
