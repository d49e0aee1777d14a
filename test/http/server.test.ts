import http from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { ERROR_KINDS, type ErrorCode, invalid, SandboxError } from '../../proto/errors.ts'
import { createApp, type HttpServer, startHttp } from '../../src/http/server.ts'
import { type FakeClient, fakeClient, runResult, silent } from './fake-client.ts'

const GRACE_MS = 5_000

function app(fake: FakeClient = fakeClient()) {
  return createApp({ client: fake.client, log: silent, version: '0.0.0' })
}

function listen(fake: FakeClient): Promise<HttpServer> {
  return startHttp({ client: fake.client, log: silent, version: '0.0.0', host: '127.0.0.1', port: 0 })
}

const runRequest = { method: 'POST' as const, url: '/run', payload: { command: ['true'] } }

for (const code of Object.keys(ERROR_KINDS) as ErrorCode[]) {
  test(`error ${code} becomes its problem document`, async (t) => {
    const fake = fakeClient()
    fake.fail(new SandboxError(code, 'Why it failed.', { field: 'command[0]' }))
    const response = await app(fake).inject({ ...runRequest, headers: { 'x-request-id': 'req-7' } })
    const kind: { http: number; title: string; retryAfterSecs?: number } = ERROR_KINDS[code]
    t.is(response.statusCode, kind.http)
    t.is(response.headers['content-type'], 'application/problem+json')
    t.is(response.headers['retry-after'], kind.retryAfterSecs?.toString())
    t.is(response.headers['x-request-id'], 'req-7')
    t.deepEqual(response.json(), {
      type: `urn:opensandbox:error:${code}`,
      title: kind.title,
      status: kind.http,
      detail: 'Why it failed.',
      code,
      field: 'command[0]',
      request_id: 'req-7',
    })
  })
}

test('every 429, 503 and 504 says when to try again', (t) => {
  for (const kind of Object.values<{ http: number; retryAfterSecs?: number }>(ERROR_KINDS)) {
    if ([429, 503, 504].includes(kind.http)) t.is(typeof kind.retryAfterSecs, 'number')
  }
})

test('an unforeseen error shows nothing of itself', async (t) => {
  const fake = fakeClient()
  fake.fail(new TypeError('secret detail'))
  const response = await app(fake).inject({ ...runRequest, headers: { 'x-request-id': 'req-8' } })
  t.is(response.statusCode, 500)
  t.is(response.json().code, 'internal')
  t.is(response.json().request_id, 'req-8')
  t.false(response.body.includes('secret'))
})

test('a sane request id is kept and goes to the bus, others are replaced', async (t) => {
  const fake = fakeClient()
  const server = app(fake)
  for (const given of ['a', 'A-z_09', 'x'.repeat(64)]) {
    const response = await server.inject({ ...runRequest, headers: { 'x-request-id': given } })
    t.is(response.headers['x-request-id'], given)
    t.is(fake.calls.at(-1)?.context.requestId, given)
  }
  const seen = new Set<string>()
  for (const given of ['', 'a.b', 'a b', 'a*', 'x'.repeat(65), 'é']) {
    const response = await server.inject({ ...runRequest, headers: { 'x-request-id': given } })
    const id = String(response.headers['x-request-id'])
    t.regex(id, /^[A-Za-z0-9_-]{1,64}$/)
    t.not(id, given)
    t.is(fake.calls.at(-1)?.context.requestId, id)
    seen.add(id)
  }
  t.is(seen.size, 6)
})

test('an unknown route is a 404 problem', async (t) => {
  for (const [method, url] of [
    ['GET', '/nope'],
    ['POST', '/sessions/s-1/nope'],
    ['GET', '/'],
  ] as const) {
    const response = await app().inject({ method, url })
    t.is(response.statusCode, 404)
    t.is(response.headers['content-type'], 'application/problem+json')
    t.is(response.json().code, 'route_not_found')
    t.is(response.json().detail, `${method} ${url} is not a route.`)
  }
})

test('a known path with another method is a 405 with Allow, whatever its body', async (t) => {
  for (const [method, url, allow] of [
    ['GET', '/run', 'POST'],
    ['PUT', '/sessions', 'GET, HEAD, POST'],
    ['PATCH', '/sessions/s-1', 'DELETE, GET, HEAD'],
    ['DELETE', '/sessions/s-1/run', 'POST'],
    ['POST', '/health', 'GET, HEAD'],
  ] as const) {
    const response = await app().inject({
      method,
      url,
      headers: { 'content-type': 'text/csv' },
      payload: 'a,b',
    })
    t.is(response.statusCode, 405, `${method} ${url}`)
    t.is(response.headers.allow, allow)
    t.is(response.json().code, 'method_not_allowed')
  }
})

test('a bad percent-encoding and an impossible session id are problems', async (t) => {
  const bad = await app().inject({ method: 'GET', url: '/sessions/%zz' })
  t.is(bad.statusCode, 400)
  t.is(bad.json().field, 'url')
  const long = await app().inject({ method: 'GET', url: `/sessions/${'x'.repeat(200)}` })
  t.is(long.statusCode, 404)
  t.is(long.json().code, 'session_not_found')
  t.is(long.headers['x-request-id'], long.json().request_id)
})

test('bodies: what is JSON is taken, with or without charset', async (t) => {
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
  test(`bodies: ${what} is a 400 naming the body`, async (t) => {
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

test('bodies: another content type is a 415, none at all too', async (t) => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'nonsense', undefined]) {
    const headers = type === undefined ? {} : { 'content-type': type }
    const response = await app().inject({ method: 'POST', url: '/run', headers, payload: Buffer.from('{}') })
    t.is(response.statusCode, 415, type)
    t.like(response.json(), { code: 'unsupported_media_type', field: 'content-type' })
  }
})

test('bodies: an empty one is no body, whatever the content type', async (t) => {
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

test('bodies: null is a field that is not given', async (t) => {
  const fake = fakeClient()
  const payload = { command: ['a'], stdin: null, encoding: null }
  const response = await app(fake).inject({ method: 'POST', url: '/run', payload })
  t.is(response.statusCode, 200)
  t.deepEqual(fake.calls[0]?.args, [{ command: ['a'] }, undefined])
})

test('bodies: __proto__ is a field like any other', async (t) => {
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

test('bodies: too large is a 413 that reaches a client which sends everything first', async (t) => {
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

test('what is not HTTP gets a 400 problem, headers without end a 431', async (t) => {
  const server = await listen(fakeClient())
  t.teardown(() => server.stop(0))
  for (const [sent, status] of [
    ['NONSENSE\r\n\r\n', 400],
    [`GET /health HTTP/1.1\r\nhost: x\r\nlong: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ] as const) {
    const answer = await exchange(server, sent)
    t.regex(answer, new RegExp(`^HTTP/1.1 ${status} `))
    t.regex(answer, /\r\ncontent-type: application\/problem\+json\r\n/)
    const problem = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))
    t.like(problem, { status, code: 'invalid_argument', field: 'request' })
  }
})

/** Sends raw bytes; everything that came back until the server closed. */
async function exchange(server: HttpServer, sent: string): Promise<string> {
  const socket = await connected(server)
  socket.write(sent)
  const chunks = await socket.toArray()
  return Buffer.concat(chunks).toString()
}

function connected(server: HttpServer): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.address.port, '127.0.0.1', () => resolve(socket))
    socket.on('error', reject)
  })
}

function runText(extra = ''): string {
  const body = '{"command":["true"]}'
  return `POST /run HTTP/1.1\r\nhost: x\r\n${extra}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

test('a client that hangs up cancels its run, and only its own', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  t.teardown(() => server.stop(0))
  const run = fake.hang('runOnce')
  const socket = await connected(server)
  socket.write(runText())
  const call = await run.started
  await sleep(50)
  t.false(call.context.signal?.aborted)
  socket.destroy()
  await run.aborted
  t.true(call.context.signal?.aborted)
})

test('a connection that is kept alive aborts nothing between or after its requests', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  t.teardown(() => server.stop(0))
  const answer = await exchange(server, runText() + runText() + runText('connection: close\r\n'))
  t.is(answer.match(/HTTP\/1.1 200 OK/g)?.length, 3)
  await sleep(20)
  t.deepEqual(
    fake.calls.map((call) => call.context.signal?.aborted),
    [false, false, false],
  )
})

test('the context of a call names tenant and actor', async (t) => {
  const fake = fakeClient()
  await app(fake).inject(runRequest)
  t.like(fake.calls[0]?.context, { tenant: 'default', actor: 'http' })
})

test('stop: the request under way is answered, then its kept-alive connection ends', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const idle = await connected(server)
  const unused = idle.toArray()
  const busy = exchange(server, runText())
  await run.started
  const started = performance.now()
  const stopped = server.stop(GRACE_MS)
  await sleep(100)
  run.release()
  const answer = await busy
  t.regex(answer, /^HTTP\/1.1 200 OK/)
  t.regex(answer, /\r\nconnection: close\r\n/i)
  await stopped
  await unused
  t.true(performance.now() - started < GRACE_MS - 1_000)
  await t.throwsAsync(connected(server), { code: 'ECONNREFUSED' })
})

test('stop: a new request on an open connection is told that the service is stopping', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const kept = await connected(server)
  kept.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\nPOST /sessions HTTP/1.1\r\nhost: x\r\n')
  await new Promise((resolve) => kept.once('data', resolve))
  const busy = exchange(server, runText())
  await run.started
  const stopped = server.stop(GRACE_MS)
  kept.write('\r\n')
  const answer = Buffer.concat(await kept.toArray()).toString()
  t.regex(answer, /^HTTP\/1.1 503 /)
  t.regex(answer, /\r\nretry-after: 2\r\n/)
  t.regex(answer, /\r\nconnection: close\r\n/)
  t.is(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)).code, 'stopping')
  run.release()
  await Promise.all([busy, stopped])
})

test('stop: what outlasts the grace is cut off and cancelled', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const busy = exchange(server, runText())
  await run.started
  const patient = server.stop(60_000)
  await server.stop(20)
  await run.aborted
  t.is(await busy, '')
  await patient
})

test('a result too large for one piece of JSON is the same result', async (t) => {
  const fake = fakeClient()
  const stdout = Buffer.alloc(10 << 20, 'é')
  const stderr = Buffer.alloc(10 << 20, '"\n')
  fake.answer('runOnce', { ...runResult, stdout, stderr })
  const response = await app(fake).inject(runRequest)
  t.is(response.statusCode, 200)
  t.is(response.headers['content-type'], 'application/json; charset=utf-8')
  const result = response.json()
  t.true(result.stdout === stdout.toString() && result.stderr === stderr.toString())
  fake.answer('runOnce', runResult)
  const small = (await app(fake).inject(runRequest)).json()
  t.deepEqual({ ...result, stdout: 'hello\n', stderr: '' }, small)
  t.deepEqual(Object.keys(result), Object.keys(small))
})

test('an invalid argument keeps the name of its field', async (t) => {
  const fake = fakeClient()
  fake.fail(invalid('env.A', 'must be a string'))
  const response = await app(fake).inject(runRequest)
  t.like(response.json(), { status: 400, field: 'env.A', detail: 'env.A: must be a string' })
})

test('bodies: all together are bounded, and those refused are told so', async (t) => {
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
