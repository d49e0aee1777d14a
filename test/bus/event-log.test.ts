import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { connect, RetentionPolicy, StorageType } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import type { SandboxEvent } from '../../proto/events.ts'
import { EVENT_STREAM, subjects } from '../../proto/subjects.ts'
import type { EventQuery } from '../../src/bus/api.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, silent, startNats, until } from './nats-fixture.ts'

function event(sessionId: string, sequence: number, tenant = 'default'): SandboxEvent {
  return {
    specversion: '1.0',
    id: `${sessionId}.${sequence}`,
    source: '/workers/w1',
    type: 'dev.opensandbox.session.cwd_set',
    subject: sessionId,
    time: '2030-01-01T00:00:00.000Z',
    datacontenttype: 'application/json',
    tenant,
    sequence,
    data: { cwd: '/ü' },
  }
}

async function rig(t: ExecutionContext): Promise<{ nats: NatsFixture; bus: Bus }> {
  const nats = await startNats()
  const bus = await openBus({ url: nats.url, name: 'events', log: silent })
  await bus.events.ensureStream()
  t.teardown(async () => {
    await bus.close()
    await nats.close()
  })
  return { nats, bus }
}

async function idsOf(bus: Bus, query: EventQuery): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of bus.events.read(query)) ids.push(id)
  return ids
}

test('what is appended is read in order, whole, and once however often it was appended', async (t) => {
  const { bus } = await rig(t)
  for (const sequence of [1, 2, 2, 3, 1]) await bus.events.append(event('a', sequence))
  const events: SandboxEvent[] = []
  for await (const read of bus.events.read({ follow: false })) events.push(read)
  t.deepEqual(events, [event('a', 1), event('a', 2), event('a', 3)])
})

test('an empty stream ends at once', async (t) => {
  const { bus } = await rig(t)
  t.deepEqual(await idsOf(bus, { follow: false }), [])
})

test('reading is by tenant, session and time', async (t) => {
  const { bus } = await rig(t)
  await bus.events.append(event('a', 1))
  await bus.events.append(event('b', 1))
  await sleep(20)
  const since = Date.now()
  await sleep(20)
  await bus.events.append(event('a', 2))
  await bus.events.append(event('c', 1, 'other'))
  const read = (query: Partial<EventQuery>) => idsOf(bus, { follow: false, ...query })
  t.deepEqual(await read({}), ['a.1', 'b.1', 'a.2', 'c.1'])
  t.deepEqual(await read({ tenant: 'default' }), ['a.1', 'b.1', 'a.2'])
  t.deepEqual(await read({ tenant: 'other' }), ['c.1'])
  t.deepEqual(await read({ sessionId: 'a' }), ['a.1', 'a.2'])
  t.deepEqual(await read({ tenant: 'other', sessionId: 'a' }), [])
  t.deepEqual(await read({ sinceMs: since }), ['a.2', 'c.1'])
  t.deepEqual(await read({ sinceMs: since, sessionId: 'a' }), ['a.2'])
  t.deepEqual(await read({ sinceMs: Date.now() + 60_000 }), [])
  const error = await t.throwsAsync<SandboxError>(read({ sessionId: 'a.b' }))
  t.like(error, { code: 'invalid_argument', field: 'session_id' })
})

test('many pages are read whole, also while more are appended; without follow it ends', async (t) => {
  const { bus } = await rig(t)
  const count = 1_500
  await Promise.all(Array.from({ length: count }, (_, i) => bus.events.append(event('a', i))))
  let writing = true
  const writer = (async () => {
    for (let i = count; writing; i += 1) await bus.events.append(event('a', i))
  })()
  const ids = await idsOf(bus, { follow: false })
  writing = false
  await writer
  t.true(ids.length >= count && ids.length < count + 200, `${ids.length} events`)
  t.is(new Set(ids).size, ids.length)
})

test('following goes on with what comes, over a restart of the server, until it is aborted', async (t) => {
  const { nats, bus } = await rig(t)
  await bus.events.append(event('a', 1))
  const enough = new AbortController()
  const ids: string[] = []
  const reading = (async () => {
    for await (const { id } of bus.events.read({ follow: true, signal: enough.signal })) ids.push(id)
  })()
  await until(() => ids.length === 1)
  const started = performance.now()
  await bus.events.append(event('a', 2))
  await until(() => ids.length === 2)
  // When it comes, not when the page ends.
  t.true(performance.now() - started < 4_000)
  await nats.kill()
  const appended = bus.events.append(event('a', 3))
  await sleep(300)
  await nats.start()
  await appended
  await bus.events.append(event('a', 4))
  await until(() => ids.length === 4)
  enough.abort()
  await reading
  t.deepEqual(ids, ['a.1', 'a.2', 'a.3', 'a.4'])
})

test('a slow reader misses nothing', async (t) => {
  const { bus } = await rig(t)
  const count = 600
  await Promise.all(Array.from({ length: count }, (_, i) => bus.events.append(event('a', i))))
  const ids: string[] = []
  for await (const { id } of bus.events.read({ follow: false })) {
    ids.push(id)
    // Longer than a page may take in all.
    if (ids.length === 100) await sleep(8_000)
  }
  t.is(new Set(ids).size, count)
  t.is(ids.length, count)
})

test('nothing acknowledged is lost or doubled while the server is killed again and again', async (t) => {
  const { nats, bus } = await rig(t)
  const acknowledged: string[] = []
  let appending = true
  const writer = async (session: string) => {
    for (let sequence = 1; appending; sequence += 1) {
      await bus.events.append(event(session, sequence))
      acknowledged.push(`${session}.${sequence}`)
    }
  }
  const writers = Promise.all(['a', 'b', 'c', 'd'].map(writer))
  for (let round = 0; round < 3; round += 1) {
    await sleep(300)
    await nats.kill()
    await sleep(200)
    await nats.start()
  }
  await sleep(500)
  appending = false
  await writers
  const ids = await idsOf(bus, { follow: false })
  t.true(acknowledged.length > 100, `${acknowledged.length} events`)
  t.is(new Set(ids).size, ids.length)
  t.deepEqual(ids.sort(), acknowledged.sort())
})

test('the stream is as it should be, keeps what an operator widened, and refuses deletion', async (t) => {
  const { nats, bus } = await rig(t)
  const nc = await connect({ servers: nats.url })
  const manager = await nc.jetstreamManager()
  const { config } = await manager.streams.info(EVENT_STREAM)
  t.like(config, {
    subjects: [subjects.allEvents()],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    max_age: 30 * 24 * 3600 * 1e9,
    max_bytes: 1024 ** 3,
    duplicate_window: 120e9,
    deny_delete: true,
    deny_purge: true,
  })
  await manager.streams.update(EVENT_STREAM, { ...config, max_age: 0, max_bytes: 1024 ** 2 })
  await bus.events.ensureStream()
  t.like((await manager.streams.info(EVENT_STREAM)).config, { max_age: 0, max_bytes: 1024 ** 3 })

  await bus.events.append(event('a', 1))
  await t.throwsAsync(manager.streams.purge(EVENT_STREAM))
  await t.throwsAsync(manager.streams.deleteMessage(EVENT_STREAM, 1))
  t.deepEqual(await idsOf(bus, { follow: false }), ['a.1'])
  await nc.close()
})

test('a server without JetStream, or without the stream, is one clear error', async (t) => {
  const nats = await startNats({ jetStream: false })
  const bus = await openBus({ url: nats.url, name: 'events', log: silent })
  const error = await t.throwsAsync<SandboxError>(bus.events.ensureStream())
  t.is(error?.code, 'bus_unavailable')
  t.true(error?.message.includes('start nats-server with -js'), error?.message)
  await bus.close()
  await nats.close()

  const empty = await startNats()
  const reader = await openBus({ url: empty.url, name: 'events', log: silent })
  const missing = await t.throwsAsync<SandboxError>(idsOf(reader, { follow: false }))
  t.is(missing?.message, 'The event stream cannot be read: stream not found')
  await reader.close()
  await empty.close()
})
