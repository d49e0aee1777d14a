/** Messages that the client library chokes on, sent byte by byte: they must not take a connection down. */
import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import test from 'ava'
import { connect, createInbox, headers } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import { HEADERS } from '../../proto/message.ts'
import { subjects } from '../../proto/subjects.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, settled, silent, startNats } from './nats-fixture.ts'

/** A blank in a name: the server passes it on, the client library throws when it reads it. */
const MALFORMED = 'NATS/1.0\r\nBad Name: x\r\n\r\n'
const subject = subjects.command('default', 's', 'x')
const request = { subject, args: {}, tenant: 'default', requestId: 'r', actor: 'test' }
let nats: NatsFixture
let bus: Bus
let raw: Socket

test.before(async () => {
  nats = await startNats()
  bus = await openBus({ url: nats.url, name: 'test', log: silent })
  bus.server.serve(subject, async (received) => ({ value: 'well', body: await received.body(1_000_000) }))
  await settled(bus)
  raw = connectSocket(nats.port, '127.0.0.1')
  raw.write('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nPING\r\n')
  await once(raw, 'data')
})
test.after.always(async () => {
  raw?.destroy()
  await bus?.close()
  await nats?.close()
})

function publishMalformed(to: string, reply = ''): void {
  raw.write(`HPUB ${to} ${reply} ${MALFORMED.length} ${MALFORMED.length}\r\n${MALFORMED}\r\n`)
}

test('malformed headers are refused, and the server goes on', async (t) => {
  raw.write('SUB _INBOX.raw 1\r\n')
  publishMalformed(subject, '_INBOX.raw')
  let text = ''
  while (!text.includes('"detail"')) text += String((await once(raw, 'data'))[0])
  t.true(text.includes('"code":"invalid_argument","request_id":'), text)
  t.is((await bus.client.request(request, 'no_worker')).value, 'well')
})

test('a cancel or a heartbeat that is malformed is passed over', async (t) => {
  publishMalformed(subjects.cancel('default', 'another'))
  publishMalformed(subjects.workerInfo('w'))
  raw.write(`PUB ${subjects.workerInfo('w')} 4\r\nnull\r\n`)
  raw.write(`PUB ${subjects.cancel('default', 'another')} 3\r\n{{{\r\n`)
  t.is((await bus.client.request(request, 'no_worker')).value, 'well')
  t.deepEqual(bus.client.workers(), [])
})

test('a source that answers with malformed headers does not take the bulk connection down', async (t) => {
  const nc = await connect({ servers: nats.url })
  const source = createInbox()
  let asked = 0
  nc.subscribe(source, {
    callback: (_error, message) => {
      asked += 1
      publishMalformed(message.reply ?? '')
    },
  })
  const head = headers()
  head.set(HEADERS.json, '{}')
  head.set(HEADERS.bodySource, source)
  head.set(HEADERS.bodyBytes, '10')
  const answer = await nc.request(subject, '', { timeout: 30_000, headers: head })
  t.true(asked > 0)
  t.is(answer.headers?.get(HEADERS.kind), 'error')
  const body = Buffer.alloc(600_000, 'z')
  t.true(body.equals((await bus.client.request({ ...request, body }, 'no_worker')).body))
  await nc.close()
})

test('an answer that cannot be read is our failure, not the caller’s', async (t) => {
  const nc = await connect({ servers: nats.url })
  const other = subjects.command('default', 'garbled', 'x')
  nc.subscribe(other, { callback: (_error, message) => message.respond('{"half":') })
  await nc.flush()
  const error = await t.throwsAsync<SandboxError>(
    bus.client.request({ ...request, subject: other }, 'no_worker'),
  )
  t.is(error?.code, 'internal')
  await nc.close()
})
