import { createHash, randomBytes } from 'node:crypto'
import test from 'ava'
import { connect, headers, type NatsConnection } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import { BODY_RANGE_BYTES, HEADERS, INLINE_BODY_BYTES } from '../../proto/message.ts'
import { subjects } from '../../proto/subjects.ts'
import { Bodies, MAX_HELD_BYTES } from '../../src/bus/body.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type BusConnection, connectBus } from '../../src/bus/connection.ts'
import { type NatsFixture, silent, startNats, until } from './nats-fixture.ts'

const MIB = 1024 * 1024
const subject = subjects.command('default', 'bodies', 'echo')
let nats: NatsFixture
let asking: Bus
let answering: Bus
let connection: BusConnection
let bodies: Bodies
let plain: NatsConnection

test.before(async () => {
  nats = await startNats()
  asking = await openBus({ url: nats.url, name: 'asking', log: silent })
  answering = await openBus({ url: nats.url, name: 'answering', log: silent })
  connection = await connectBus({ url: nats.url, name: 'bodies', log: silent })
  bodies = new Bodies(connection.bulk, silent)
  plain = await connect({ servers: nats.url })
  answering.server.serve(subject, async (request) => ({
    value: request.args,
    body: await request.body(40 * MIB),
  }))
  // Over the connection that subscribed, so that the subscription is known when this is answered.
  await answering.client.request(asked(new Uint8Array(1)), 'no_worker')
  await connection.bulk.nc.flush()
})
test.after.always(async () => {
  bodies?.close()
  await Promise.all([asking?.close(), answering?.close(), connection?.close(), plain?.close()])
  await nats?.close()
})

function asked(body: Uint8Array) {
  return { subject, args: { n: body.length }, body, tenant: 'default', requestId: 'r', actor: 'test' }
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

for (const bytes of [0, 1, INLINE_BODY_BYTES, INLINE_BODY_BYTES + 1, 10 * MIB, 40 * MIB]) {
  test.serial(`a body of ${bytes} bytes is exact, there and back`, async (t) => {
    const body = randomBytes(bytes)
    const answer = await asking.client.request<{ n: number }>(asked(body), 'no_worker')
    t.deepEqual(answer.value, { n: bytes })
    t.is(answer.body.length, bytes)
    t.is(digest(answer.body), digest(body))
  })
}

test.serial('bodies of many requests at a time do not mix', async (t) => {
  const sent = Array.from({ length: 12 }, (_, i) => Buffer.alloc(MIB + i, i))
  const answers = await Promise.all(sent.map((body) => asking.client.request(asked(body), 'no_worker')))
  t.deepEqual(
    answers.map(({ body }) => digest(body)),
    sent.map(digest),
  )
})

test.serial('a body over what the handler takes is refused before it is fetched', async (t) => {
  const error = await t.throwsAsync<SandboxError>(
    asking.client.request(asked(new Uint8Array(40 * MIB + 1)), 'no_worker'),
  )
  t.is(error?.code, 'payload_too_large')
  t.is(error?.message, `The body has ${40 * MIB + 1} bytes; at most ${40 * MIB} are taken.`)
})

test.serial('what is offered can be fetched in ranges, and is gone when done', async (t) => {
  const content = randomBytes(300_000)
  const offer = { source: bodies.offer(content), bytes: content.length }
  t.is(digest(await bodies.fetch(offer, 0, 300_000)), digest(content))
  t.is(digest(await bodies.fetch(offer, 5, 250_001)), digest(content.subarray(5, 250_001)))
  bodies.done(offer)
  await connection.bulk.nc.flush()
  const error = await t.throwsAsync<SandboxError>(bodies.fetch(offer, 0, 10))
  t.is(error?.code, 'timeout')
  t.is(error?.message, 'The body is not held any more.')
})

test.serial('ranges outside the body or over the bound are refused', async (t) => {
  const source = bodies.offer(new Uint8Array(1_000_000))
  const ask = async (question: string) => {
    const answer = await plain.request(source, question, { timeout: 1_000 })
    return { kind: answer.headers?.get(HEADERS.kind), field: answer.json<{ field?: string }>().field }
  }
  t.deepEqual(await ask('{"offset": -1, "length": 1}'), { kind: 'error', field: 'offset' })
  t.deepEqual(await ask('{"offset": 1000001, "length": 1}'), { kind: 'error', field: 'offset' })
  t.deepEqual(await ask('{"offset": 0.5, "length": 1}'), { kind: 'error', field: 'offset' })
  t.deepEqual(await ask('{}'), { kind: 'error', field: 'offset' })
  t.deepEqual(await ask('null'), { kind: 'error', field: 'offset' })
  t.deepEqual(await ask(`{"offset": 0, "length": ${BODY_RANGE_BYTES + 1}}`), {
    kind: 'error',
    field: 'length',
  })
  t.deepEqual(await ask('{"offset": 999999, "length": 2}'), { kind: 'error', field: 'length' })
  t.deepEqual(await ask('not json'), { kind: 'error', field: undefined })
  bodies.withdraw(source)
})

test.serial('the bytes held are bounded', (t) => {
  const half = new Uint8Array(MAX_HELD_BYTES / 2)
  const sources = [bodies.offer(half), bodies.offer(half)]
  const error = t.throws<SandboxError>(() => bodies.offer(Uint8Array.of(1)))
  t.is(error?.code, 'too_many_runs')
  for (const source of sources) bodies.withdraw(source)
  bodies.withdraw(bodies.offer(Uint8Array.of(1)))
})

test.serial('a source that sends a range of another length is found out', async (t) => {
  const source = `${subjectOfInbox()}.x`
  plain.subscribe(source, { callback: (_error, message) => message.respond(new Uint8Array(7)) })
  await plain.flush()
  const error = await t.throwsAsync<SandboxError>(bodies.fetch({ source, bytes: 8 }, 0, 8))
  t.is(error?.message, 'A range of 8 bytes came with 7.')
})

test.serial('content may be offered from an inbox only', async (t) => {
  const victim = subjects.command('other', 'session', 'delete')
  let reached = false
  plain.subscribe(victim, {
    callback: () => {
      reached = true
    },
  })
  const refusals = []
  for (const [source, bytes, payload] of [
    [victim, '10', ''],
    [`${subjectOfInbox()}.x`, '-1', ''],
    [`${subjectOfInbox()}.x`, '', ''],
    [`${subjectOfInbox()}.x`, '10', '{}'],
  ] as const) {
    const head = headers()
    head.set(HEADERS.bodySource, source)
    if (bytes !== '') head.set(HEADERS.bodyBytes, bytes)
    const answer = await plain.request(subject, payload, { timeout: 1_000, headers: head })
    refusals.push(answer.json<{ code: string; field: string }>())
  }
  t.deepEqual(
    refusals.map(({ code, field }) => [code, field]),
    [
      ['invalid_argument', HEADERS.bodySource],
      ['invalid_argument', HEADERS.bodyBytes],
      ['invalid_argument', HEADERS.bodyBytes],
      ['invalid_argument', HEADERS.bodySource],
    ],
  )
  t.false(reached)
})

function subjectOfInbox(): string {
  return `_INBOX.${randomBytes(8).toString('hex')}`
}

test.serial('the answer to a caller that has given up is let go', async (t) => {
  const hangUp = new AbortController()
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let began = false
  const slow = subjects.command('default', 'bodies', 'slow')
  answering.server.serve(slow, async () => {
    began = true
    await held
    return { value: {}, body: new Uint8Array(MIB) }
  })
  let doneSeen = 0
  plain.subscribe('_INBOX.>', {
    callback: (_error, message) => {
      if (message.string() === '{"done":true}') doneSeen += 1
    },
  })
  await plain.flush()
  await until(async () => {
    const pending = asking.client.request(
      { ...asked(new Uint8Array(0)), subject: slow, signal: hangUp.signal },
      'no_worker',
    )
    pending.catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 100))
    return began
  })
  hangUp.abort()
  await plain.flush()
  release()
  // Either the cancel came in time and nothing was offered, or the offer was refused; nothing of it arrives.
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.true(doneSeen <= 1)
})
