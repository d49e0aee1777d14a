/** Callers and workers that know the protocol from its documentation, and use nothing but the `nats` library. */
import test from 'ava'
import { connect, createInbox, headers, type NatsConnection } from 'nats'
import { ERROR_KINDS } from '../../proto/errors.ts'
import { subjects } from '../../proto/subjects.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, settled, silent, startNats, until } from './nats-fixture.ts'

let nats: NatsFixture
let bus: Bus
let nc: NatsConnection

test.before(async () => {
  nats = await startNats()
  bus = await openBus({ url: nats.url, name: 'answering', log: silent })
  nc = await connect({ servers: nats.url })
})
test.after.always(async () => {
  await nc?.close()
  await bus?.close()
  await nats?.close()
})

let count = 0
async function serve(handler: Parameters<Bus['server']['serve']>[1]): Promise<string> {
  count += 1
  const subject = subjects.command('default', `foreign-${count}`, 'x')
  bus.server.serve(subject, handler)
  await settled(bus)
  return subject
}

test('plain JSON in, plain JSON out; a request id is given and the actor is `nats`', async (t) => {
  let requestId = ''
  const subject = await serve(async (request) => {
    requestId = request.requestId
    return { value: { args: request.args, actor: request.actor }, body: await request.body(0) }
  })
  const answer = await nc.request(subject, JSON.stringify({ a: 1 }), { timeout: 1_000 })
  t.is(answer.headers?.get('Osb-Kind'), 'result')
  t.deepEqual(answer.json(), { args: { a: 1 }, actor: 'nats' })
  t.regex(requestId, /^[A-Za-z0-9_-]{1,64}$/)
})

test('an empty message means no arguments', async (t) => {
  const subject = await serve(async ({ args }) => ({
    value: args,
    body: new Uint8Array(0),
  }))
  t.deepEqual((await nc.request(subject, '', { timeout: 1_000 })).json(), {})
})

test('a small body comes as the payload, with the JSON in its header', async (t) => {
  const subject = await serve(async (request) => ({ value: request.args, body: await request.body(10) }))
  const head = headers()
  head.set('Osb-Json', '{"path":"/a"}')
  const answer = await nc.request(subject, Uint8Array.of(0, 200), { timeout: 1_000, headers: head })
  t.is(answer.headers?.get('Osb-Json'), '{"path":"/a"}')
  t.deepEqual([...answer.data], [0, 200])
})

test('JSON may also stand in front of the body', async (t) => {
  const subject = await serve(async (request) => ({ value: request.args, body: await request.body(10) }))
  const head = headers()
  head.set('Osb-Json-Bytes', '7')
  const answer = await nc.request(subject, '{"a":1}body', { timeout: 1_000, headers: head })
  t.is(answer.headers?.get('Osb-Json'), '{"a":1}')
  t.is(answer.string(), 'body')
})

test('a large answer is fetched range by range, and let go', async (t) => {
  const content = Buffer.from(Array.from({ length: 400_000 }, (_, i) => i % 251))
  const subject = await serve(async () => ({ value: { n: 1 }, body: content }))
  const answer = await nc.request(subject, '{}', { timeout: 1_000 })
  t.is(answer.headers?.get('Osb-Json'), '{"n":1}')
  t.is(answer.data.length, 0)
  const source = answer.headers?.get('Osb-Body-Source') ?? ''
  const total = Number(answer.headers?.get('Osb-Body-Bytes'))
  t.is(total, 400_000)
  const ranges: Uint8Array[] = []
  for (let offset = 0; offset < total; offset += 131_072) {
    const range = { offset, length: Math.min(131_072, total - offset) }
    ranges.push((await nc.request(source, JSON.stringify(range), { timeout: 1_000 })).data)
  }
  t.true(Buffer.concat(ranges).equals(content))
  nc.publish(source, JSON.stringify({ done: true }))
  const gone = await nc.request(source, JSON.stringify({ offset: 0, length: 1 }), { timeout: 1_000 })
  t.is(gone.headers?.get('Osb-Kind'), 'error')
})

test('a large request is offered from an inbox', async (t) => {
  const content = Buffer.alloc(400_000, 'x')
  const subject = await serve(async (request) => {
    const body = await request.body(400_000)
    return { value: { same: content.equals(body) }, body: new Uint8Array(0) }
  })
  const source = createInbox()
  let done = false
  nc.subscribe(source, {
    callback: (_error, message) => {
      const question = message.json<{ offset: number; length: number; done?: boolean }>()
      if (question.done) done = true
      else message.respond(content.subarray(question.offset, question.offset + question.length))
    },
  })
  const head = headers()
  head.set('Osb-Json', '{}')
  head.set('Osb-Body-Source', source)
  head.set('Osb-Body-Bytes', '400000')
  const answer = await nc.request(subject, '', { timeout: 5_000, headers: head })
  t.deepEqual(answer.json(), { same: true })
  await nc.flush()
  t.true(done)
})

test('what is not JSON is refused with a problem document that has the request id', async (t) => {
  const subject = await serve(async () => t.fail('the handler must not be called') as never)
  const head = headers()
  head.set('Osb-Request-Id', 'mine-1')
  for (const payload of ['{"a":', Uint8Array.of(0xff, 0xfe)]) {
    const answer = await nc.request(subject, payload, { timeout: 1_000, headers: head })
    t.is(answer.headers?.get('Osb-Kind'), 'error')
    t.like(answer.json(), {
      code: 'invalid_argument',
      status: 400,
      title: ERROR_KINDS.invalid_argument.title,
      type: 'urn:opensandbox:error:invalid_argument',
      request_id: 'mine-1',
    })
  }
})

test('a request id or an actor that cannot be one is refused', async (t) => {
  const subject = await serve(async () => t.fail('the handler must not be called') as never)
  for (const [name, value] of [
    ['Osb-Request-Id', 'a.b'],
    ['Osb-Actor', 'x'.repeat(65)],
    ['Osb-Actor', 'two words'],
    ['Osb-Json-Bytes', '9'],
  ] as const) {
    const head = headers()
    head.set(name, value)
    const answer = await nc.request(subject, '{}', { timeout: 1_000, headers: head })
    t.like(answer.json(), { code: 'invalid_argument', field: name })
  }
})

test('an answer never becomes a command: replies to our own subjects or the server are not sent', async (t) => {
  let calls = 0
  const subject = await serve(async () => {
    calls += 1
    return { value: {}, body: new Uint8Array(0) }
  })
  const reached: string[] = []
  const targets = [
    subjects.command('victim', 'session', 'delete'),
    subjects.events('victim', 'session'),
    '$JS.API.INFO',
  ]
  for (const target of targets)
    nc.subscribe(target, { callback: (_error, message) => reached.push(message.subject) })
  for (const target of targets) nc.publish(subject, '{}', { reply: target })
  const answer = await nc.request(subject, '{}', { timeout: 1_000 })
  t.deepEqual(answer.json(), {})
  t.is(calls, targets.length + 1)
  await nc.flush()
  t.deepEqual(reached, [])
})

test('a cancel without a reply subject is for all requests of that id and tenant', async (t) => {
  const aborted: string[] = []
  let begun = 0
  const subject = await serve(async (request) => {
    begun += 1
    await new Promise((resolve) => request.signal.addEventListener('abort', resolve))
    aborted.push(request.requestId)
    return { value: {}, body: new Uint8Array(0) }
  })
  for (const id of ['same', 'same', 'other']) {
    const head = headers()
    head.set('Osb-Request-Id', id)
    nc.publish(subject, '{}', { headers: head })
  }
  // Who waits for an answer gets it: it was not the caller who cancelled.
  const head = headers()
  head.set('Osb-Request-Id', 'same')
  const answer = nc.request(subject, '{}', { timeout: 5_000, headers: head })
  await until(() => begun === 4)
  nc.publish(subjects.cancel('another-tenant', 'same'))
  nc.publish(subjects.cancel('default', 'same'))
  await nc.flush()
  t.is((await answer).headers?.get('Osb-Kind'), 'result')
  await until(() => aborted.length === 3)
  t.deepEqual(aborted, ['same', 'same', 'same'])
  nc.publish(subjects.cancel('default', 'other'))
  await until(() => aborted.length === 4)
  t.is(aborted[3], 'other')
})
