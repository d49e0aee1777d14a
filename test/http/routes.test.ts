import test from 'ava'
import fc from 'fast-check'
import type { InjectOptions } from 'fastify'
import * as limits from '../../proto/limits.ts'
import { createApp } from '../../src/http/server.ts'
import { fakeClient, runResult, sessionInfo, silent, workerInfo } from './fake-client.ts'

function serve() {
  const fake = fakeClient()
  const app = createApp({ client: fake.client, log: silent, version: '1.2.3' })
  const ask = async (options: InjectOptions) => await app.inject(options)
  return { fake, ask }
}

const runAnswer = {
  stdout: 'hello\n',
  stderr: '',
  exit_code: 0,
  signal: null,
  cause: 'exited',
  error: null,
  usage: { cpu_ms: 1.5, wall_ms: 2.25, memory_peak_kb: 640 },
  stdout_truncated: false,
  stderr_truncated: false,
  run_id: 'run-1',
}

test('GET /health', async (t) => {
  const { ask } = serve()
  const response = await ask({ method: 'GET', url: '/health' })
  t.is(response.statusCode, 200)
  t.is(response.body, 'OK')
  t.is(response.headers['content-type'], 'text/plain; charset=utf-8')
})

test('GET /health?verbose', async (t) => {
  const { ask } = serve()
  const health = (await ask({ method: 'GET', url: '/health?verbose' })).json()
  t.is(health.status, 'ok')
  t.deepEqual(health.versions, { opensandbox: '1.2.3', node: process.version })
  t.deepEqual(health.workers, [workerInfo])
  t.deepEqual(health.limits.cpu_time_ms, limits.CPU_TIME_MS)
  t.deepEqual(health.limits.file_bytes, { max: limits.MAX_FILE_BYTES })
})

test('POST /run', async (t) => {
  const { fake, ask } = serve()
  const args = {
    command: ['echo', 'hi'],
    time: 100,
    mem: 2048,
    fsize: 1,
    nofile: 9,
    env: { A: 'b' },
    cwd: '/tmp',
  }
  const ours = { wall: 200, pids: 4, output_limit: 10 }
  const response = await ask({ method: 'POST', url: '/run', payload: { ...args, ...ours, stdin: 'é' } })
  t.is(response.statusCode, 200)
  t.is(response.headers['content-type'], 'application/json; charset=utf-8')
  t.deepEqual(response.json(), runAnswer)
  t.is(fake.calls.length, 1)
  t.is(fake.calls[0]?.method, 'runOnce')
  t.deepEqual(fake.calls[0]?.args, [{ ...args, ...ours }, Buffer.from('é')])
})

test('POST /sessions/:id/run', async (t) => {
  const { fake, ask } = serve()
  const response = await ask({ method: 'POST', url: '/sessions/s-9/run', payload: { command: ['a'] } })
  t.is(response.statusCode, 200)
  t.deepEqual(response.json(), runAnswer)
  t.is(fake.calls[0]?.method, 'run')
  t.deepEqual(fake.calls[0]?.args, ['s-9', { command: ['a'] }, undefined])
})

test('run: fields that nobody knows go on to where they are refused', async (t) => {
  const { fake, ask } = serve()
  await ask({ method: 'POST', url: '/run', payload: { command: ['a'], tiem: 3 } })
  t.deepEqual(fake.calls[0]?.args[0], { command: ['a'], tiem: 3 })
})

test('run: killed by a signal', async (t) => {
  const { fake, ask } = serve()
  fake.answer('runOnce', {
    ...runResult,
    exit_code: null,
    signal: 9,
    cause: 'memory_limit',
    stdout_truncated: true,
  })
  const response = await ask({ method: 'POST', url: '/run', payload: { command: ['a'] } })
  t.deepEqual(response.json(), {
    ...runAnswer,
    exit_code: null,
    signal: 9,
    cause: 'memory_limit',
    stdout_truncated: true,
  })
})

test('run: any bytes as base64, in and out', async (t) => {
  const { fake, ask } = serve()
  await fc.assert(
    fc.asyncProperty(fc.uint8Array(), fc.uint8Array(), fc.uint8Array(), async (stdin, stdout, stderr) => {
      fake.answer('run', { ...runResult, stdout, stderr })
      const answer = { ...runAnswer, stdout: base64(stdout), stderr: base64(stderr) }
      fake.calls.length = 0
      const payload = { command: ['a'], stdin: base64(stdin), encoding: 'base64' }
      const response = await ask({ method: 'POST', url: '/sessions/s/run', payload })
      t.deepEqual(response.json(), answer)
    }),
    { numRuns: 50 },
  )
})

test('run: stdin of any bytes arrives exactly', async (t) => {
  const { fake, ask } = serve()
  const bytes = Uint8Array.from({ length: 1024 }, (_, index) => index % 256)
  const payload = { command: ['a'], stdin: base64(bytes), encoding: 'base64' }
  await ask({ method: 'POST', url: '/run', payload })
  t.deepEqual(fake.calls[0]?.args[1], Buffer.from(bytes))
})

test('run: text is utf8, and bytes that are none become U+FFFD, never nothing', async (t) => {
  const { fake, ask } = serve()
  const stdout = Buffer.concat([Buffer.from('\ufeffé'), Buffer.from([0xff, 0x41, 0xe2, 0x82])])
  fake.answer('runOnce', { ...runResult, stdout, stderr: Buffer.from([0x80, 0x80]) })
  for (const payload of [{ command: ['a'] }, { command: ['a'], encoding: 'utf8' }]) {
    const result = (await ask({ method: 'POST', url: '/run', payload })).json()
    t.is(result.stdout, '\ufeffé\ufffdA\ufffd')
    t.is(result.stderr, '\ufffd\ufffd')
  }
})

for (const [field, payload] of [
  ['encoding', { encoding: 'latin1' }],
  ['encoding', { encoding: 7 }],
  ['stdin', { stdin: 7 }],
  ['stdin', { stdin: '\ud800' }],
  ['stdin', { stdin: 'no base64!', encoding: 'base64' }],
  ['stdin', { stdin: ['x'], encoding: 'base64' }],
] as const) {
  test(`run: 400 names ${field} in ${JSON.stringify(payload)}`, async (t) => {
    const { fake, ask } = serve()
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ command: ['a'], ...payload })
    const response = await ask({ method: 'POST', url: '/run', headers, payload: body })
    t.is(response.statusCode, 400)
    t.like(response.json(), { code: 'invalid_argument', field })
    t.is(fake.calls.length, 0)
  })
}

test('POST /sessions', async (t) => {
  const { fake, ask } = serve()
  const payload = {
    env: { A: '1' },
    ttl_secs: 60,
    metadata: { user: 'x' },
    limits: { time: 10 },
    network: 'none',
  }
  const response = await ask({ method: 'POST', url: '/sessions', payload })
  t.is(response.statusCode, 200)
  t.deepEqual(response.json(), { session_id: 's-1', preview_url: null })
  t.like(fake.calls[0], { method: 'createSession', args: [payload] })
})

test('GET /sessions, filtered by metadata', async (t) => {
  const { fake, ask } = serve()
  const sessions = [
    { ...sessionInfo, id: 'a', metadata: { user: 'x', 'a.b': 'c d' } },
    { ...sessionInfo, id: 'b', metadata: { user: 'x' } },
    { ...sessionInfo, id: 'c', metadata: {} },
  ]
  fake.answer('listSessions', sessions)
  for (const [query, ids] of [
    ['', ['a', 'b', 'c']],
    ['?other=1', ['a', 'b', 'c']],
    ['?metadata.user=x', ['a', 'b']],
    ['?metadata.user=x&metadata.a.b=c%20d', ['a']],
    ['?metadata.user=y', []],
    ['?metadata.user=x&metadata.user=y', []],
    ['?metadata.toString=x', []],
  ] as const) {
    const response = await ask({ method: 'GET', url: `/sessions${query}` })
    t.is(response.statusCode, 200)
    t.deepEqual(
      response.json().map((session: { id: string }) => session.id),
      ids,
      query,
    )
  }
  const all = await ask({ method: 'GET', url: '/sessions' })
  t.deepEqual(all.json(), sessions)
})

test('GET /sessions/:id', async (t) => {
  const { fake, ask } = serve()
  const response = await ask({ method: 'GET', url: '/sessions/s-1' })
  t.is(response.statusCode, 200)
  t.deepEqual(response.json(), sessionInfo)
  t.like(fake.calls[0], { method: 'getSession', args: ['s-1'] })
})

test('DELETE /sessions/:id', async (t) => {
  const { fake, ask } = serve()
  const response = await ask({ method: 'DELETE', url: '/sessions/s-1' })
  t.is(response.statusCode, 204)
  t.is(response.body, '')
  t.like(fake.calls[0], { method: 'deleteSession', args: ['s-1'] })
})

test('POST /sessions/:id/env and cwd', async (t) => {
  const { fake, ask } = serve()
  const env = await ask({ method: 'POST', url: '/sessions/s-1/env', payload: { env: { A: '1' } } })
  t.is(env.statusCode, 200)
  t.like(fake.calls[0], { method: 'setEnv', args: ['s-1', { env: { A: '1' } }] })
  const cwd = await ask({ method: 'POST', url: '/sessions/s-1/cwd', payload: { cwd: '/tmp' } })
  t.is(cwd.statusCode, 200)
  t.like(fake.calls[1], { method: 'setCwd', args: ['s-1', { cwd: '/tmp' }] })
})

test('files: any bytes are written and read exactly, padded or not', async (t) => {
  const { fake, ask } = serve()
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), fc.boolean(), async (bytes, padded) => {
      const content = padded ? base64(bytes) : base64(bytes).replace(/=+$/, '')
      fake.calls.length = 0
      const written = await ask({
        method: 'POST',
        url: '/sessions/s/files/write',
        payload: { path: '/a', content },
      })
      t.is(written.statusCode, 200)
      t.deepEqual(written.json(), { success: true })
      t.is(fake.calls[0]?.method, 'writeFile')
      t.deepEqual(fake.calls[0]?.args, ['s', { path: '/a' }, Buffer.from(bytes)])
      fake.answer('readFile', bytes)
      const read = await ask({ method: 'GET', url: '/sessions/s/files/read?path=/a' })
      t.deepEqual(read.json(), { content: base64(bytes) })
    }),
    { numRuns: 100 },
  )
})

for (const content of [
  'A',
  'QQ=',
  'QQ===',
  'QR==',
  'QUI=C',
  'QU JD',
  'QUJD\n',
  'QUJ_',
  'QUJ-',
  '====',
  'é',
  7,
  undefined,
  null,
]) {
  test(`files: ${JSON.stringify(content)} is not base64`, async (t) => {
    const { fake, ask } = serve()
    const one = await ask({
      method: 'POST',
      url: '/sessions/s/files/write',
      payload: { path: '/a', content },
    })
    t.is(one.statusCode, 400)
    t.like(one.json(), { code: 'invalid_argument', field: 'content' })
    const files = [
      { path: '/a', content: '' },
      { path: '/b', content: 'QQ==' },
      { path: '/c', content },
    ]
    const bulk = await ask({ method: 'POST', url: '/sessions/s/files/write-bulk', payload: { files } })
    t.is(bulk.statusCode, 400)
    t.like(bulk.json(), { code: 'invalid_argument', field: 'files[2].content' })
    t.is(fake.calls.length, 0)
  })
}

test('POST /sessions/:id/files/write-bulk', async (t) => {
  const { fake, ask } = serve()
  const answer = { success: false, errors: [{ path: '/b', error: 'Not a regular file' }] }
  fake.answer('writeFiles', answer)
  const url = '/sessions/s/files/write-bulk'
  const files = [
    { path: '/a', content: base64(Buffer.from('x')) },
    { path: '/b', content: '' },
  ]
  const response = await ask({ method: 'POST', url, payload: { files } })
  t.is(response.statusCode, 200)
  t.deepEqual(response.json(), answer)
})

for (const [field, payload] of [
  ['files', {}],
  ['files', { files: {} }],
  ['files[0]', { files: ['x'] }],
  ['mode', { files: [], mode: 1 }],
  ['files[0].mode', { files: [{ path: '/a', content: '', mode: 1 }] }],
  ['files[1]', { files: [{ path: '/a', content: '' }, null] }],
] as const) {
  test(`write-bulk: 400 names ${field} in ${JSON.stringify(payload)}`, async (t) => {
    const { ask } = serve()
    const response = await ask({ method: 'POST', url: '/sessions/s/files/write-bulk', payload })
    t.is(response.statusCode, 400)
    t.like(response.json(), { code: 'invalid_argument', field })
  })
}

test('GET /sessions/:id/files/read and list hand the path on, decoded', async (t) => {
  const { fake, ask } = serve()
  const listing = { files: [{ name: 'a b', path: '/d/a b', is_directory: false, size: 3 }] }
  fake.answer('listFiles', listing)
  const response = await ask({ method: 'GET', url: '/sessions/s/files/list?path=%2Fd%2F%C3%A9' })
  t.is(response.statusCode, 200)
  t.deepEqual(response.json(), listing)
  t.like(fake.calls[0], { method: 'listFiles', args: ['s', { path: '/d/é' }] })
  await ask({ method: 'GET', url: '/sessions/s/files/read?path=/x%20y' })
  t.like(fake.calls[1], { method: 'readFile', args: ['s', { path: '/x y' }] })
})

test('files: a write of the largest size fits, a byte of JSON more than the limit does not', async (t) => {
  const { fake, ask } = serve()
  const content = base64(Buffer.alloc(limits.MAX_FILE_BYTES, 7))
  const url = '/sessions/s/files/write'
  const fits = await ask({ method: 'POST', url, payload: { path: '/a', content } })
  t.is(fits.statusCode, 200)
  t.is((fake.calls[0]?.args[2] as Uint8Array | undefined)?.length, limits.MAX_FILE_BYTES)
  const headers = { 'content-type': 'application/json' }
  const tooLarge = await ask({
    method: 'POST',
    url,
    headers,
    payload: ' '.repeat(content.length + (7 << 20)),
  })
  t.is(tooLarge.statusCode, 413)
  t.is(tooLarge.json().code, 'payload_too_large')
})

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}
