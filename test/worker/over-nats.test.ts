/** The worker on the real bus, with sandboxes in memory. */
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import pino from 'pino'
import { SandboxError } from '../../proto/errors.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { SandboxClient } from '../../src/bus/sandbox-client.ts'
import { startWorker, type WorkerOptions } from '../../src/worker/start-worker.ts'
import { FakeProvider } from './fake-sandbox.ts'
import { startNatsServer } from './nats-server.ts'

const log = pino({ level: 'silent' })
const server = await startNatsServer()
test.after.always(() => server.stop())

let requests = 0
function context(tenant = 'default') {
  requests += 1
  return { tenant, requestId: `q${requests}`, actor: 'test' }
}

async function connect(t: ExecutionContext, name: string): Promise<Bus> {
  const bus = await openBus({ url: server.url, name, log })
  t.teardown(() => bus.close())
  await bus.events.ensureStream()
  return bus
}

/** A worker and a client on connections of their own, as two processes would have. */
async function set(t: ExecutionContext, options: Partial<WorkerOptions> = {}) {
  const gateway = await connect(t, 'gateway')
  const bus = await connect(t, 'worker')
  const provider = new FakeProvider()
  const worker = startWorker({
    bus: bus.server,
    events: bus.events,
    provider,
    log,
    workerId: 'w1',
    maxSessions: 8,
    maxRunning: 8,
    previewDomain: null,
    allowHostNetwork: false,
    limits: {},
    version: '0',
    ...options,
  })
  t.teardown(() => worker.stop(0))
  while (gateway.client.workers().length === 0) await sleep(5)
  return { client: new SandboxClient(gateway.client), worker, provider, gateway }
}

async function eventsOf(bus: Bus, sessionId: string): Promise<SandboxEvent[]> {
  const events: SandboxEvent[] = []
  for await (const event of bus.events.read({ sessionId, follow: false })) events.push(event)
  return events
}

test.serial('create, run, read, delete; the stream has it all in order', async (t) => {
  const { client, gateway, provider } = await set(t)
  const { session_id: id } = await client.createSession(context(), { env: { A: '1' } })
  const { stdout, stderr, exit_code } = await client.run(
    context(),
    id,
    { command: ['cat'] },
    Buffer.from('in'),
  )
  t.deepEqual([Buffer.from(stdout).toString(), Buffer.from(stderr).toString(), exit_code], ['in', 'done', 3])
  const large = Buffer.alloc(3_000_000, 'x')
  await client.writeFile(context(), id, { path: '/large' }, large)
  t.true(large.equals(await client.readFile(context(), id, { path: '/large' })))
  t.deepEqual(
    (await client.listSessions(context())).map((session) => session.id),
    [id],
  )
  await client.deleteSession(context(), id)
  t.true(provider.last.destroyed)
  await t.throwsAsync(client.getSession(context(), id), {
    instanceOf: SandboxError,
    code: 'session_not_found',
  })
  const events = await eventsOf(gateway, id)
  t.deepEqual(
    events.map(({ type, sequence }) => [sequence, type.replace('dev.opensandbox.', '')]),
    [
      [1, 'session.created'],
      [2, 'run.started'],
      [3, 'run.finished'],
      [4, 'session.file_written'],
      [5, 'session.ended'],
    ],
  )
})

test.serial('what is wrong comes back with its field', async (t) => {
  const { client } = await set(t)
  const { session_id: id } = await client.createSession(context(), {})
  const error = await t.throwsAsync(client.run(context(), id, { command: ['a'], cwd: 'b' }), {
    instanceOf: SandboxError,
  })
  t.deepEqual([error?.code, error?.field], ['invalid_argument', 'cwd'])
})

test.serial('who goes away ends their run', async (t) => {
  const { client, worker, gateway } = await set(t)
  const { session_id: id } = await client.createSession(context(), {})
  const abort = new AbortController()
  const running = client.run({ ...context(), signal: abort.signal }, id, { command: ['sleep'] })
  while (worker.info().running === 0) await sleep(5)
  abort.abort()
  await t.throwsAsync(running)
  while ((await eventsOf(gateway, id)).length < 3) await sleep(5)
  t.is(worker.info().running, 0)
  t.like((await eventsOf(gateway, id)).at(-1)?.data, { cause: 'cancelled' })
})

test.serial('a full worker is no worker, and has room again', async (t) => {
  const { client } = await set(t, { maxSessions: 1 })
  const { session_id: id } = await client.createSession(context(), {})
  await t.throwsAsync(client.createSession(context(), {}), { instanceOf: SandboxError, code: 'no_worker' })
  await client.deleteSession(context(), id)
  const { session_id: next } = await client.createSession(context(), {})
  t.not(next, id)
})

test.serial('stop ends sessions and leaves the bus; the last events are in the stream', async (t) => {
  const { client, worker, gateway } = await set(t)
  const { session_id: id } = await client.createSession(context(), {})
  const running = client.run(context(), id, { command: ['sleep'] })
  while (worker.info().running === 0) await sleep(5)
  await worker.stop(50)
  t.is((await running).cause, 'session_ended')
  await t.throwsAsync(client.createSession(context(), {}), { instanceOf: SandboxError, code: 'no_worker' })
  const last = (await eventsOf(gateway, id)).at(-1)
  t.deepEqual(last?.data, { reason: 'stopped' })
})
