import type { ServiceError } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { ERROR_KINDS, type ErrorCode, invalid, SandboxError } from '../../proto/errors.ts'
import { MAX_FILE_BYTES } from '../../proto/limits.ts'
import { startGrpc } from '../../src/grpc/server.ts'
import { type FakeClient, fakeClient, runResult, silent } from '../http/fake-client.ts'
import { grpcClient } from './grpc-client.ts'

const GRACE_MS = 5_000

async function serve(t: ExecutionContext, fake: FakeClient = fakeClient()) {
  const server = await startGrpc({ client: fake.client, log: silent, host: '127.0.0.1', port: 0 })
  const client = grpcClient(`127.0.0.1:${server.address.port}`)
  t.teardown(async () => {
    client.close()
    await server.stop(0)
  })
  return { fake, server, client }
}

const failure = (outcome: Promise<unknown>) =>
  outcome.then(
    () => undefined,
    (error: ServiceError) => error,
  )

const runResponse = {
  stdout: 'hello\n',
  stderr: '',
  exit_code: 0,
  signal: 0,
  cause: 'exited',
  error: '',
  usage: { cpu_ms: 1.5, wall_ms: 2.25, memory_peak_kb: 640 },
  stdout_truncated: false,
  stderr_truncated: false,
  run_id: 'run-1',
  stdout_bytes: Buffer.alloc(0),
  stderr_bytes: Buffer.alloc(0),
}

test('RunCommand hands every field on', async (t) => {
  const { fake, client } = await serve(t)
  const { response } = await client.call('RunCommand', {
    session_id: 's-1',
    command: ['echo', 'hé'],
    time_ms: 1,
    mem_kb: 2048,
    fsize_kb: 3,
    nofile: 9,
    env: { A: '1', é: '' },
    cwd: '/tmp',
    wall_ms: 5,
    pids: 6,
    output_limit_bytes: 7,
    stdin: Buffer.from([0, 255]),
  })
  t.deepEqual(response, runResponse)
  t.is(fake.calls[0]?.method, 'run')
  t.like(fake.calls[0]?.context, { tenant: 'default', actor: 'grpc' })
  t.deepEqual(fake.calls[0]?.args, [
    's-1',
    {
      command: ['echo', 'hé'],
      env: { A: '1', é: '' },
      time: 1,
      mem: 2048,
      fsize: 3,
      nofile: 9,
      cwd: '/tmp',
      wall: 5,
      pids: 6,
      output_limit: 7,
    },
    Buffer.from([0, 255]),
  ])
})

test('RunCommand: 0 and an empty cwd are the default', async (t) => {
  const { fake, client } = await serve(t)
  await client.call('RunCommand', { session_id: 's-1', command: ['a'], time_ms: 0, cwd: '' })
  t.deepEqual(fake.calls[0]?.args, ['s-1', { command: ['a'], env: {} }, undefined])
})

test('RunCommand: a number beyond what is exact stays far too large', async (t) => {
  const { fake, client } = await serve(t)
  await client.call('RunCommand', { session_id: 's', command: ['a'], time_ms: '18446744073709551615' })
  t.deepEqual(fake.calls[0]?.args[1], { command: ['a'], env: {}, time: 2 ** 64 })
})

for (const [what, outcome, expected] of [
  ['a status', { exit_code: 3 }, { exit_code: 3, signal: 0 }],
  [
    'a signal',
    { exit_code: null, signal: 9, cause: 'cpu_limit' },
    { exit_code: 137, signal: 9, cause: 'cpu_limit' },
  ],
  [
    'not found',
    { exit_code: 127, cause: 'exec_failed', error: 'no such file' },
    { exit_code: 127, cause: 'exec_failed', error: 'no such file' },
  ],
  [
    'no process',
    { exit_code: null, cause: 'worker_lost' },
    { exit_code: -1, signal: 0, cause: 'worker_lost' },
  ],
  [
    'truncated',
    { stdout_truncated: true, stderr_truncated: true },
    { stdout_truncated: true, stderr_truncated: true },
  ],
] as const) {
  test(`RunCommand: ${what}`, async (t) => {
    const { fake, client } = await serve(t)
    fake.answer('run', { ...runResult, ...outcome })
    const { response } = await client.call('RunCommand', { session_id: 's', command: ['a'] })
    t.deepEqual(response, { ...runResponse, ...expected })
  })
}

test('RunCommand: output that is no text is exact in the byte fields, and only then set', async (t) => {
  const { fake, client } = await serve(t)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array(), fc.string({ unit: 'grapheme' }), async (stdout, text) => {
      fake.answer('run', { ...runResult, stdout, stderr: Buffer.from(text) })
      const { response } = await client.call('RunCommand', { session_id: 's', command: ['a'] })
      const shown = Buffer.from(stdout).toString()
      t.is(response.stdout, shown)
      t.is(response.stderr, text)
      const isText = Buffer.from(shown).equals(Buffer.from(stdout))
      t.deepEqual(response.stdout_bytes, isText ? Buffer.alloc(0) : Buffer.from(stdout))
      t.deepEqual(response.stderr_bytes, Buffer.alloc(0))
    }),
    { numRuns: 50 },
  )
})

test('files: any bytes are written and read exactly', async (t) => {
  const { fake, client } = await serve(t)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array(), async (bytes) => {
      fake.calls.length = 0
      const written = await client.call('WriteFile', { session_id: 's', path: '/a', content: bytes })
      t.deepEqual(written.response, { success: true, error: '' })
      t.is(fake.calls[0]?.method, 'writeFile')
      t.deepEqual(fake.calls[0]?.args, ['s', { path: '/a' }, Buffer.from(bytes)])
      fake.answer('readFile', bytes)
      const read = await client.call('ReadFile', { session_id: 's', path: '/a' })
      t.deepEqual(read.response, { content: Buffer.from(bytes), error: '' })
    }),
    { numRuns: 50 },
  )
})

test('files: the largest one fits', async (t) => {
  const { fake, client } = await serve(t)
  const content = Buffer.alloc(MAX_FILE_BYTES, 7)
  await client.call('WriteFile', { session_id: 's', path: '/a', content })
  t.true(content.equals(fake.calls[0]?.args[2] as Uint8Array))
  fake.answer('readFile', content)
  const { response } = await client.call('ReadFile', { session_id: 's', path: '/a' })
  t.true(content.equals(response.content as Uint8Array))
  const over = Buffer.alloc(MAX_FILE_BYTES + (5 << 20))
  const error = await failure(client.call('WriteFile', { session_id: 's', path: '/a', content: over }))
  t.is(error?.code, 8)
})

test('WriteFiles, SetEnv and SetCwd', async (t) => {
  const { fake, client } = await serve(t)
  const answer = { success: false, errors: [{ path: '/b', error: 'Not a regular file' }] }
  fake.answer('writeFiles', answer)
  const files = [
    { path: '/a', content: Buffer.from('x') },
    { path: '/b', content: Buffer.alloc(0) },
  ]
  t.deepEqual((await client.call('WriteFiles', { session_id: 's', files })).response, answer)
  t.deepEqual(fake.calls[0]?.args, ['s', files])
  const env = await client.call('SetEnv', { session_id: 's', env: { A: '1' } })
  t.deepEqual(env.response, { success: true })
  t.like(fake.calls[1], { method: 'setEnv', args: ['s', { env: { A: '1' } }] })
  for (const [given, cwd] of [
    ['/tmp', '/tmp'],
    ['', '/'],
  ] as const) {
    const set = await client.call('SetCwd', { session_id: 's', cwd: given })
    t.deepEqual(set.response, { success: true })
    t.deepEqual(fake.calls.at(-1)?.args, ['s', { cwd }])
  }
})

const fileErrors: ErrorCode[] = [
  'path_not_found',
  'not_a_file',
  'not_a_directory',
  'disk_full',
  'payload_too_large',
  'file_refused',
]

for (const error of [
  ...fileErrors.map((code) => new SandboxError(code, 'Why.')),
  invalid('path', 'must be absolute'),
]) {
  test(`files: ${error.code} is in the response, with status OK`, async (t) => {
    const { fake, client } = await serve(t)
    fake.fail(error)
    const written = await client.call('WriteFile', { session_id: 's', path: '/a' })
    t.deepEqual(written.response, { success: false, error: error.message })
    const read = await client.call('ReadFile', { session_id: 's', path: '/a' })
    t.deepEqual(read.response, { content: Buffer.alloc(0), error: error.message })
  })
}

test('files: what is not about the file is a status', async (t) => {
  const { fake, client } = await serve(t)
  fake.fail(new SandboxError('session_not_found', 'No session s.'))
  for (const method of ['RunCommand', 'WriteFile', 'WriteFiles', 'ReadFile', 'SetEnv', 'SetCwd']) {
    const error = await failure(client.call(method, { session_id: 's' }))
    t.is(error?.code, 5, method)
    t.is(error?.details, 'No session s.')
    t.deepEqual(error?.metadata.get('osb-code'), ['session_not_found'])
  }
})

for (const code of Object.keys(ERROR_KINDS) as ErrorCode[]) {
  test(`error ${code} becomes its status and metadata`, async (t) => {
    const { fake, client } = await serve(t)
    fake.fail(new SandboxError(code, 'Why ümlaut.', { field: 'command[0]' }))
    const error = await failure(
      client.call('SetEnv', { session_id: 's' }, { metadata: { 'x-request-id': 'req-1' } }),
    )
    const kind: { grpc: number; retryAfterSecs?: number } = ERROR_KINDS[code]
    t.is(error?.code, kind.grpc)
    t.is(error?.details, 'Why ümlaut.')
    t.deepEqual(error?.metadata.get('osb-code'), [code])
    t.deepEqual(error?.metadata.get('osb-field'), ['command[0]'])
    t.deepEqual(error?.metadata.get('x-request-id'), ['req-1'])
    t.deepEqual(error?.metadata.get('retry-after'), kind.retryAfterSecs ? [String(kind.retryAfterSecs)] : [])
    t.is(fake.calls[0]?.context.requestId, 'req-1')
  })
}

test('errors name fields as the proto file does', async (t) => {
  const { fake, client } = await serve(t)
  for (const [field, renamed] of [
    ['time', 'time_ms'],
    ['output_limit', 'output_limit_bytes'],
    ['nofile', 'nofile'],
  ] as const) {
    fake.fail(invalid(field, 'must be smaller'))
    const error = await failure(client.call('RunCommand', { session_id: 's', command: ['a'] }))
    t.is(error?.details, `${renamed}: must be smaller`)
    t.deepEqual(error?.metadata.get('osb-field'), [renamed])
  }
})

test('errors with any text arrive, cut where no client would take it', async (t) => {
  const { fake, client } = await serve(t)
  for (const text of ['é\n\u0000', '\ud800', '漢'.repeat(4_000)]) {
    fake.fail(new SandboxError('invalid_argument', text, { field: text }))
    const error = await failure(client.call('SetEnv', { session_id: 's' }))
    t.is(error?.code, 3)
    t.is(error?.details.slice(0, 3), Buffer.from(text).toString().slice(0, 3))
    t.true((error?.details.length ?? 0) <= 700)
  }
})

test('an unforeseen error shows nothing of itself', async (t) => {
  const { fake, client } = await serve(t)
  fake.fail(new TypeError('secret detail'))
  const error = await failure(client.call('SetEnv', { session_id: 's' }))
  t.is(error?.code, 13)
  t.deepEqual(error?.metadata.get('osb-code'), ['internal'])
  t.false(error?.details.includes('secret'))
})

test('answers carry the request id; a bad one is replaced', async (t) => {
  const { fake, client } = await serve(t)
  for (const [given, kept] of [
    ['req-2', true],
    ['a.b', false],
  ] as const) {
    const { trailers } = await client.call(
      'SetEnv',
      { session_id: 's' },
      { metadata: { 'x-request-id': given } },
    )
    const [id] = trailers.get('x-request-id')
    t.is(String(id) === given, kept)
    t.regex(String(id), /^[A-Za-z0-9_-]{1,64}$/)
    t.is(fake.calls.at(-1)?.context.requestId, String(id))
  }
})

test('cancelling and a deadline reach the bus; a good end aborts nothing', async (t) => {
  const { fake, client } = await serve(t)
  const cancelled = fake.hang('run')
  const call = client.start('RunCommand', { session_id: 's', command: ['a'] })
  const ended = failure(call.outcome)
  await cancelled.started
  call.cancel()
  await cancelled.aborted
  t.is((await ended)?.code, 1)

  const late = fake.hang('run')
  const error = await failure(
    client.call('RunCommand', { session_id: 's', command: ['a'] }, { deadline: Date.now() + 100 }),
  )
  t.is(error?.code, 4)
  await late.aborted

  await client.call('SetEnv', { session_id: 's' })
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.false(fake.calls.at(-1)?.context.signal?.aborted)
})

test('a client whose connection breaks cancels its run', async (t) => {
  const { fake, server } = await serve(t)
  const run = fake.hang('run')
  const other = grpcClient(`127.0.0.1:${server.address.port}`)
  const call = other.start('RunCommand', { session_id: 's', command: ['a'] })
  const ended = failure(call.outcome)
  await run.started
  await server.stop(0)
  await run.aborted
  t.not(await ended, undefined)
  other.close()
})

test('stop: the call under way is answered', async (t) => {
  const { fake, server, client } = await serve(t)
  const run = fake.hang('run')
  const call = client.call('RunCommand', { session_id: 's', command: ['a'] })
  await run.started
  const started = performance.now()
  const stopped = server.stop(GRACE_MS)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const refused = await failure(client.call('SetEnv', { session_id: 's' }))
  t.is(refused?.code, 14)
  run.release()
  t.deepEqual((await call).response, runResponse)
  await stopped
  t.true(performance.now() - started < GRACE_MS - 1_000)
})
