import test from 'ava'
import { ERROR_KINDS, type ErrorCode, invalid, SandboxError } from '../../proto/errors.ts'
import { fakeClient, runResult } from './fake-client.ts'
import { app, exchange, listen } from './listener.ts'

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

test('the context of a call names tenant and actor', async (t) => {
  const fake = fakeClient()
  await app(fake).inject(runRequest)
  t.like(fake.calls[0]?.context, { tenant: 'default', actor: 'http' })
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
