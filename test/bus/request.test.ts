import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { SandboxError } from '../../proto/errors.ts'
import { MAX_INLINE_JSON_BYTES } from '../../proto/message.ts'
import { subjects, WORKER_QUEUE } from '../../proto/subjects.ts'
import type { BusRequest, IncomingRequest, WorkerInfo } from '../../src/bus/api.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, settled, silent, startNats, until } from './nats-fixture.ts'

const NO_BODY = new Uint8Array(0)
let nats: NatsFixture
let asking: Bus
let answering: Bus

test.before(async () => {
  nats = await startNats()
  asking = await openBus({ url: nats.url, name: 'asking', log: silent })
  answering = await openBus({ url: nats.url, name: 'answering', log: silent })
})
test.after.always(async () => {
  await asking?.close()
  await answering?.close()
  await nats?.close()
})

let sessions = 0
/** A subject that no other test uses. */
function command(verb = 'get'): string {
  sessions += 1
  return subjects.command('default', `session-${sessions}`, verb)
}

function requestTo(subject: string, rest: Partial<BusRequest> = {}): BusRequest {
  return { subject, args: {}, tenant: 'default', requestId: 'request-1', actor: 'test', ...rest }
}

test('a request reaches the handler as it was sent, and its answer the caller', async (t) => {
  const subject = command('set_env')
  let seen: IncomingRequest | undefined
  answering.server.serve(subject, async (request) => {
    seen = request
    return { value: { ok: [1, 'ü', null] }, body: Uint8Array.of(0, 255, 10, 13) }
  })
  await settled(answering)
  const args = { env: { NAME: 'line\r\nbreak \u2028 🙂', LONE: '\ud800' } }
  const body = Uint8Array.of(1, 2, 3)
  const answer = await asking.client.request(requestTo(subject, { args, body }), 'no_worker')
  t.deepEqual(answer.value, { ok: [1, 'ü', null] })
  t.deepEqual([...answer.body], [0, 255, 10, 13])
  t.is(seen?.subject, subject)
  t.is(seen?.requestId, 'request-1')
  t.is(seen?.actor, 'test')
  t.deepEqual(seen?.args, args)
  t.deepEqual([...((await seen?.body(3)) ?? [])], [1, 2, 3])
  t.false(seen?.signal.aborted)
})

test('JSON of every size goes through, with and without a body', async (t) => {
  const subject = command()
  answering.server.serve(subject, async (request) => ({
    value: request.args,
    body: await request.body(1_000_000),
  }))
  await settled(answering)
  const max = MAX_INLINE_JSON_BYTES
  for (const length of [0, max - 11, max - 10, max, 256 * 1024, 1024 * 1024, 5_000_000]) {
    for (const bodyBytes of [0, 1, 300_000]) {
      const args = { text: 'ä'.repeat(length / 2) }
      const body = new Uint8Array(bodyBytes).fill(9)
      const answer = await asking.client.request<typeof args>(requestTo(subject, { args, body }), 'no_worker')
      t.true(answer.value.text === args.text, `JSON of ${length} with a body of ${bodyBytes}`)
      t.true(Buffer.from(answer.body).equals(body))
    }
  }
})

test("a handler's SandboxError arrives with its code, detail and field", async (t) => {
  const subject = command()
  answering.server.serve(subject, async () => {
    throw new SandboxError('invalid_argument', 'command[0]: must not be empty', { field: 'command[0]' })
  })
  await settled(answering)
  const error = await t.throwsAsync<SandboxError>(asking.client.request(requestTo(subject), 'no_worker'))
  t.is(error?.code, 'invalid_argument')
  t.is(error?.message, 'command[0]: must not be empty')
  t.is(error?.field, 'command[0]')
})

test('what else a handler throws is logged with the request id and shown as internal', async (t) => {
  const logged: { fields: object; message: string }[] = []
  const log = { ...noLog, error: (fields: object, message: string) => logged.push({ fields, message }) }
  const bus = await openBus({ url: nats.url, name: 'failing', log })
  const subject = command()
  const cause = new TypeError('secret of the house')
  bus.server.serve(subject, async () => {
    throw cause
  })
  await settled(bus)
  const error = await t.throwsAsync<SandboxError>(asking.client.request(requestTo(subject), 'no_worker'))
  t.is(error?.code, 'internal')
  t.false(error?.message.includes('secret'))
  t.deepEqual(logged, [
    { fields: { err: cause, request_id: 'request-1', subject }, message: 'request failed' },
  ])
  await bus.close()
})

const noLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

test('nobody listening is what the caller says it is, at once', async (t) => {
  const started = performance.now()
  for (const code of ['no_worker', 'session_not_found'] as const) {
    const error = await t.throwsAsync<SandboxError>(asking.client.request(requestTo(command()), code))
    t.is(error?.code, code)
  }
  t.true(performance.now() - started < 5_000)
})

test('members of a queue group share the work, and one that stopped gets none', async (t) => {
  const subject = command()
  const counts = [0, 0]
  const serve = (index: number) =>
    answering.server.serve(
      subject,
      async () => {
        counts[index] = (counts[index] ?? 0) + 1
        return { value: index, body: NO_BODY }
      },
      { queue: WORKER_QUEUE },
    )
  const first = serve(0)
  serve(1)
  await settled(answering)
  for (let i = 0; i < 100; i += 1) await asking.client.request(requestTo(subject), 'no_worker')
  t.is((counts[0] ?? 0) + (counts[1] ?? 0), 100)
  t.true((counts[0] ?? 0) > 0 && (counts[1] ?? 0) > 0)
  await first.stop()
  const before = counts[0]
  for (let i = 0; i < 50; i += 1) await asking.client.request(requestTo(subject), 'no_worker')
  t.is(counts[0], before)
})

test('stop waits for requests under way, whose answers arrive', async (t) => {
  const subject = command()
  let finish: () => void = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  let started = 0
  const serving = answering.server.serve(subject, async () => {
    started += 1
    await finished
    return { value: 'done', body: NO_BODY }
  })
  await settled(answering)
  const answers = [1, 2, 3].map(() => asking.client.request(requestTo(subject), 'no_worker'))
  await until(() => started === 3)
  let stopped = false
  const stopping = serving.stop().then(() => {
    stopped = true
  })
  await sleep(100)
  t.false(stopped)
  finish()
  await stopping
  t.deepEqual(
    (await Promise.all(answers)).map(({ value }) => value),
    ['done', 'done', 'done'],
  )
  const error = await t.throwsAsync<SandboxError>(asking.client.request(requestTo(subject), 'no_worker'))
  t.is(error?.code, 'no_worker')
})

test('an abort rejects at once and aborts the handler, that of this request only', async (t) => {
  const subject = command()
  const signals: AbortSignal[] = []
  answering.server.serve(subject, async (request) => {
    signals.push(request.signal)
    if (signals.length === 2) return { value: 'second', body: NO_BODY }
    await new Promise((resolve) => request.signal.addEventListener('abort', resolve))
    return { value: 'first', body: NO_BODY }
  })
  await settled(answering)
  const hangUp = new AbortController()
  const first = asking.client.request(requestTo(subject, { signal: hangUp.signal }), 'no_worker')
  await until(() => signals.length === 1)
  hangUp.abort()
  // A retry with the same request id must not be hit by the cancel of the first try.
  const second = asking.client.request(requestTo(subject), 'no_worker')
  const error = await t.throwsAsync<SandboxError>(first)
  t.is(error?.code, 'timeout')
  t.is((await second).value, 'second')
  await until(() => signals[0]?.aborted === true)
  t.false(signals[1]?.aborted)
})

test("the signal's own reason is what the caller is told, and an aborted one sends nothing", async (t) => {
  const subject = command()
  let requests = 0
  answering.server.serve(subject, async () => {
    requests += 1
    return { value: 1, body: NO_BODY }
  })
  await settled(answering)
  const reason = new SandboxError('stopping', 'on its way out')
  const request = requestTo(subject, { signal: AbortSignal.abort(reason) })
  t.is(await t.throwsAsync(asking.client.request(request, 'no_worker')), reason)
  await settled(answering)
  t.is(requests, 0)
})

test('a message without a reply subject is carried out', async (t) => {
  const subject = command()
  const seen: unknown[] = []
  answering.server.serve(subject, async ({ args }) => {
    seen.push(args)
    throw new Error('nobody hears this')
  })
  await settled(answering)
  asking.server.publish(subject, { n: 1 })
  await until(() => seen.length === 1)
  t.deepEqual(seen, [{ n: 1 }])
})

test('a request id or tenant that cannot be one is refused before anything is sent', async (t) => {
  for (const [field, change] of [
    ['request_id', { requestId: 'a.b' }],
    ['tenant', { tenant: '*' }],
  ] as const) {
    const request = requestTo(command(), change)
    const error = await t.throwsAsync<SandboxError>(asking.client.request(request, 'no_worker'))
    t.is(error?.code, 'invalid_argument')
    t.is(error?.field, field)
  }
})

test.serial('gather has the answers of all who beat, and no_worker where there is none', async (t) => {
  const tenant = 'gathering'
  const request = requestTo(subjects.list(tenant), { tenant })
  const error = await t.throwsAsync<SandboxError>(asking.client.gather(request))
  t.is(error?.code, 'no_worker')

  const info = (id: string): WorkerInfo => ({
    id,
    sessions: 0,
    max_sessions: 1,
    running: 0,
    draining: false,
    limits: {},
    version: '0',
  })
  for (const id of ['w1', 'w2', 'w3']) {
    answering.server.publish(subjects.workerInfo(id), info(id))
    answering.server.serve(subjects.list(tenant), async () => {
      await sleep(id === 'w3' ? 200 : 0)
      return { value: id, body: NO_BODY }
    })
  }
  await until(() => asking.client.workers().length === 3)
  const answers = await asking.client.gather<string>(request)
  t.deepEqual(answers.map(({ value }) => value).sort(), ['w1', 'w2', 'w3'])

  answering.server.publish(subjects.workerInfo('w2'), { ...info('w2'), stopped: true })
  await until(() => asking.client.workers().length === 2)
  t.deepEqual(
    asking.client
      .workers()
      .map(({ id }) => id)
      .sort(),
    ['w1', 'w3'],
  )
})
