/** The server dies and comes back while requests are under way. Tests have a server each, because they kill it. */
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { SandboxError } from '../../proto/errors.ts'
import { subjects } from '../../proto/subjects.ts'
import type { Handler } from '../../src/bus/api.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, settled, silent, startNats, until } from './nats-fixture.ts'

const NO_BODY = new Uint8Array(0)
const subject = subjects.command('default', 's', 'x')
const request = { subject, args: {}, tenant: 'default', requestId: 'r', actor: 'test' }

interface Rig {
  nats: NatsFixture
  asking: Bus
  answering: Bus
}

async function rig(t: ExecutionContext, handler: Handler): Promise<Rig> {
  const nats = await startNats()
  const asking = await openBus({ url: nats.url, name: 'asking', log: silent })
  const answering = await openBus({ url: nats.url, name: 'answering', log: silent })
  t.teardown(async () => {
    await asking.close()
    await answering.close()
    await nats.close()
  })
  answering.server.serve(subject, handler)
  await settled(answering)
  return { nats, asking, answering }
}

const bothBack = ({ asking, answering }: Rig) => until(() => asking.connected() && answering.connected())

test('without a connection a request fails at once, and works again when there is one', async (t) => {
  const all = await rig(t, async () => ({ value: 1, body: NO_BODY }))
  const { nats, asking } = all
  t.is((await asking.client.request(request, 'no_worker')).value, 1)
  await nats.kill()
  await until(() => !asking.connected())
  const started = performance.now()
  const error = await t.throwsAsync<SandboxError>(asking.client.request(request, 'no_worker'))
  t.is(error?.code, 'bus_unavailable')
  t.true(performance.now() - started < 1_000)
  await nats.start()
  await bothBack(all)
  t.is((await asking.client.request(request, 'no_worker')).value, 1)
})

test('a request without beats fails when the connection is lost', async (t) => {
  let began = false
  const { nats, asking } = await rig(t, async () => {
    began = true
    await sleep(3_000)
    return { value: 1, body: NO_BODY }
  })
  const answer = t.throwsAsync<SandboxError>(asking.client.request(request, 'no_worker'))
  await until(() => began)
  const started = performance.now()
  await nats.kill()
  t.is((await answer)?.code, 'bus_unavailable')
  t.true(performance.now() - started < 5_000)
})

test('a request with beats outlives a restart of the server, also when it is answered meanwhile', async (t) => {
  let began = 0
  const all = await rig(t, async ({ args }) => {
    began += 1
    await sleep((args as { ms: number }).ms)
    return { value: args, body: NO_BODY }
  })
  const { nats, asking } = all
  const answers = [300, 4_000].map((ms) =>
    asking.client.request({ ...request, args: { ms }, beats: true }, 'no_worker'),
  )
  await until(() => began === 2)
  await nats.kill()
  await sleep(1_000)
  await nats.start()
  t.deepEqual(
    (await Promise.all(answers)).map(({ value }) => value),
    [{ ms: 300 }, { ms: 4_000 }],
  )
  t.is(began, 2)
})

test('just after a reconnect a request waits for those on their way back', async (t) => {
  const { nats, asking, answering } = await rig(t, async () => ({ value: 1, body: NO_BODY }))
  await nats.kill()
  await until(() => !asking.connected() && !answering.connected())
  await nats.start()
  await until(() => asking.connected())
  const missing = { ...request, subject: subjects.command('default', 'missing', 'x') }
  const [answer, error] = await Promise.all([
    asking.client.request(request, 'session_not_found'),
    t.throwsAsync<SandboxError>(asking.client.request(missing, 'session_not_found')),
  ])
  t.is(answer.value, 1)
  t.is(error?.code, 'session_not_found')
})

test('a body under way survives a restart of the server', async (t) => {
  const body = Buffer.alloc(40 * 1024 * 1024, 'b')
  const all = await rig(t, async (received) => {
    const content = await received.body(body.length)
    return { value: body.equals(content), body: NO_BODY }
  })
  const { nats, asking } = all
  const answer = asking.client.request({ ...request, body, beats: true }, 'no_worker')
  await sleep(60)
  await nats.kill()
  await sleep(300)
  await nats.start()
  // Killed before the message was passed on it is silence instead; then it must be told as such.
  const outcome = await answer.then(
    ({ value }) => value,
    (thrown: SandboxError) => thrown.code,
  )
  t.true(outcome === true || outcome === 'bus_unavailable', String(outcome))
})

test('a connection that cannot be made is one clear error, without the password', async (t) => {
  const nats = await startNats()
  await nats.kill()
  t.teardown(() => nats.close())
  const url = `nats://user:secret@127.0.0.1:${nats.port}`
  const error = await t.throwsAsync<SandboxError>(openBus({ url, name: 'x', log: silent }))
  t.is(error?.code, 'bus_unavailable')
  t.true(error?.message.startsWith(`Cannot connect to NATS at 127.0.0.1:${nats.port}: `))
  t.false(error?.message.includes('secret'))
})
