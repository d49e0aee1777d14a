import http from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type { HttpServer } from '../../src/http/server.ts'
import { fakeClient } from './fake-client.ts'
import { app, connected, listen } from './listener.ts'

test('what is JSON is taken, with or without charset', async (t) => {
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'Application/JSON;charset="UTF-8"',
  ]) {
    const fake = fakeClient()
    const response = await app(fake).inject({
      method: 'POST',
      url: '/run',
      headers: { 'content-type': type },
      payload: '{"command":["a\u00e9"]}',
    })
    t.is(response.statusCode, 200, type)
    t.deepEqual(fake.calls[0]?.args[0], { command: ['aé'] })
  }
})

for (const [what, payload, detail] of [
  ['broken JSON', '{"command":', 'body: not valid JSON'],
  ['an array', '[]', 'body: must be a JSON object'],
  ['null', 'null', 'body: must be a JSON object'],
  ['a string', '"x"', 'body: must be a JSON object'],
  ['bad UTF-8', Buffer.from('{"command":["\xff"]}', 'latin1'), 'body: not valid UTF-8'],
] as const) {
  test(`${what} is a 400 naming the body`, async (t) => {
    const fake = fakeClient()
    const headers = { 'content-type': 'application/json' }
    for (const url of ['/run', '/sessions', '/sessions/s-1/files/write-bulk']) {
      const response = await app(fake).inject({ method: 'POST', url, headers, payload })
      t.is(response.statusCode, 400, url)
      t.like(response.json(), { code: 'invalid_argument', field: 'body', detail })
    }
    t.is(fake.calls.length, 0)
  })
}

test('another content type is a 415, none at all too', async (t) => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'nonsense', undefined]) {
    const headers = type === undefined ? {} : { 'content-type': type }
    const response = await app().inject({ method: 'POST', url: '/run', headers, payload: Buffer.from('{}') })
    t.is(response.statusCode, 415, type)
    t.like(response.json(), { code: 'unsupported_media_type', field: 'content-type' })
  }
})

test('an empty one is no body, whatever the content type', async (t) => {
  for (const type of [undefined, 'application/json', 'application/x-www-form-urlencoded', 'text/plain']) {
    const fake = fakeClient()
    const headers = type === undefined ? {} : { 'content-type': type }
    const created = await app(fake).inject({ method: 'POST', url: '/sessions', headers })
    t.is(created.statusCode, 200, type)
    t.deepEqual(fake.calls[0]?.args, [{}])
    const deleted = await app(fake).inject({ method: 'DELETE', url: '/sessions/s-1', headers, payload: '' })
    t.is(deleted.statusCode, 204, type)
  }
})

test('null is a field that is not given', async (t) => {
  const fake = fakeClient()
  const payload = { command: ['a'], stdin: null, encoding: null }
  const response = await app(fake).inject({ method: 'POST', url: '/run', payload })
  t.is(response.statusCode, 200)
  t.deepEqual(fake.calls[0]?.args, [{ command: ['a'] }, undefined])
})

test('__proto__ is a field like any other', async (t) => {
  const fake = fakeClient()
  const headers = { 'content-type': 'application/json' }
  await app(fake).inject({
    method: 'POST',
    url: '/sessions',
    headers,
    payload: '{"__proto__":{"env":{"A":"1"}}}',
  })
  const args = fake.calls[0]?.args[0] as object
  t.deepEqual(Object.keys(args), ['__proto__'])
  t.is((args as { env?: unknown }).env, undefined)
})

test('too large is a 413 that reaches a client which sends everything first', async (t) => {
  const server = await listen(fakeClient())
  t.teardown(() => server.stop(0))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const sizes = { declared: { 'content-length': 30 << 20 }, chunked: {} }
  for (const [what, headers] of Object.entries(sizes)) {
    const response = await send(agent, server, '/sessions', Buffer.alloc(30 << 20, 'x'), headers)
    t.is(response.status, 413, what)
    t.like(response.body, { code: 'payload_too_large', field: 'body', status: 413 })
  }
  const after = await send(agent, server, '/sessions', Buffer.from('{}'), {})
  t.is(after.status, 200)
})

function send(agent: http.Agent, server: HttpServer, path: string, body: Buffer, headers: object) {
  return new Promise<{ status: number | undefined; body: object }>((resolve, reject) => {
    const request = http.request({
      agent,
      port: server.address.port,
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json', ...headers },
    })
    request.on('error', reject)
    request.on('response', async (response) => {
      const chunks = await response.toArray()
      resolve({ status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) })
    })
    for (let at = 0; at < body.length; at += 1 << 20) request.write(body.subarray(at, at + (1 << 20)))
    request.end()
  })
}

test('all together are bounded, and those refused are told so', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  t.teardown(() => server.stop(0))
  const holders: Socket[] = []
  const declare = `POST /run HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${90 << 20}\r\n\r\n`
  for (let count = 0; count < 4; count += 1) {
    const socket = await connected(server)
    socket.on('error', () => {})
    socket.write(declare)
    holders.push(socket)
  }
  await sleep(100)
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const body = Buffer.concat([Buffer.from('{"command":["a"]}'), Buffer.alloc(40 << 20, ' ')])
  const sizes = { declared: { 'content-length': body.length }, chunked: {} }
  for (const [what, headers] of Object.entries(sizes)) {
    const refused = await send(agent, server, '/run', body, headers)
    t.is(refused.status, 429, what)
    t.like(refused.body, { code: 'too_many_runs' })
  }
  t.is((await send(agent, server, '/run', Buffer.from('{"command":["a"]}'), {})).status, 200)
  for (const socket of holders) socket.destroy()
  await sleep(100)
  for (const [what, headers] of Object.entries(sizes)) {
    t.is((await send(agent, server, '/run', body, headers)).status, 200, what)
  }
})
