import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { connect, createInbox, headers } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import { BEAT_INTERVAL_MS, BEAT_TIMEOUT_MS, HEADERS } from '../../proto/message.ts'
import { subjects } from '../../proto/subjects.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { SandboxClient } from '../../src/bus/sandbox-client.ts'
import { type NatsFixture, settled, silent, startNats } from './nats-fixture.ts'

const NO_BODY = new Uint8Array(0)
const runMeta = {
  run_id: 'run-1',
  exit_code: 0,
  signal: null,
  cause: 'exited',
  error: null,
  usage: { cpu_ms: 1, wall_ms: 1, memory_peak_kb: 1 },
  stdout_bytes: 0,
  stderr_bytes: 0,
  stdout_truncated: false,
  stderr_truncated: false,
}
const context = { tenant: 'default', requestId: 'request-1', actor: 'test' }
let nats: NatsFixture
let asking: Bus
let answering: Bus
let client: SandboxClient

test.before(async () => {
  nats = await startNats()
  asking = await openBus({ url: nats.url, name: 'asking', log: silent })
  answering = await openBus({ url: nats.url, name: 'answering', log: silent })
  client = new SandboxClient(asking.client)
})
test.after.always(async () => {
  await asking?.close()
  await answering?.close()
  await nats?.close()
})

test('a run longer than the silence that would end it goes on, because its worker beats', async (t) => {
  answering.server.serve(subjects.command('default', 'long', 'run'), async () => {
    await sleep(BEAT_TIMEOUT_MS + 1_500)
    return { value: runMeta, body: NO_BODY }
  })
  await settled(answering)
  const result = await client.run(context, 'long', { command: ['sleep'] })
  t.is(result.cause, 'exited')
  t.is(result.run_id, 'run-1')
})

test('beats come to those who ask for them, the first after one interval', async (t) => {
  const subject = subjects.command('default', 'beating', 'run')
  answering.server.serve(subject, async () => {
    await sleep(2.5 * BEAT_INTERVAL_MS)
    return { value: {}, body: NO_BODY }
  })
  const nc = await connect({ servers: nats.url })
  await nc.flush()
  await settled(answering)
  const frames = async (asksForBeats: boolean) => {
    const inbox = createInbox()
    const kinds: string[] = []
    const done = new Promise<void>((resolve) => {
      nc.subscribe(inbox, {
        callback: (_error, message) => {
          const kind = message.headers?.get(HEADERS.kind) ?? 'none'
          kinds.push(kind)
          if (kind === 'result') resolve()
        },
      })
    })
    const head = headers()
    if (asksForBeats) head.set(HEADERS.beats, '1')
    nc.publish(subject, '', { reply: inbox, headers: head })
    await done
    return kinds
  }
  const [beaten, plain] = await Promise.all([frames(true), frames(false)])
  t.deepEqual(beaten, ['beat', 'beat', 'result'])
  t.deepEqual(plain, ['result'])
  await nc.close()
})

test('a worker that falls silent ends a run as worker_lost, other requests as timeout', async (t) => {
  // A subscriber that takes requests and never says anything, as a stopped process does.
  const nc = await connect({ servers: nats.url })
  for (const verb of ['run', 'delete'])
    nc.subscribe(subjects.command('default', 'mute', verb), { callback: () => {} })
  const cancelled: string[] = []
  nc.subscribe(subjects.allCancels(), { callback: (_error, message) => cancelled.push(message.subject) })
  await nc.flush()
  const started = performance.now()
  const [result, error] = await Promise.all([
    client.run(context, 'mute', { command: ['true'] }),
    t.throwsAsync<SandboxError>(client.deleteSession({ ...context, requestId: 'request-2' }, 'mute')),
  ])
  const waitedMs = performance.now() - started
  t.true(waitedMs >= BEAT_TIMEOUT_MS - 10 && waitedMs < BEAT_TIMEOUT_MS + 2_000, `${waitedMs} ms`)
  t.like(result, { cause: 'worker_lost', exit_code: null, signal: null, run_id: 'request-1' })
  t.is(result.error, `The worker that took the request was silent for ${BEAT_TIMEOUT_MS} ms.`)
  t.is(error?.code, 'timeout')
  await sleep(100)
  t.deepEqual(cancelled.sort(), [
    subjects.cancel('default', 'request-1'),
    subjects.cancel('default', 'request-2'),
  ])
  await nc.close()
})

test.serial(
  'an event loop that was busy longer than the silence allowed does not take its worker for lost',
  async (t) => {
    answering.server.serve(subjects.command('default', 'quick', 'run'), async () => ({
      value: runMeta,
      body: NO_BODY,
    }))
    await settled(answering)
    const pending = client.run(context, 'quick', { command: ['true'] })
    await sleep(0)
    const end = performance.now() + BEAT_TIMEOUT_MS + 500
    while (performance.now() < end);
    t.is((await pending).cause, 'exited')
  },
)
