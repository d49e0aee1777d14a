import type { ServiceError } from '@grpc/grpc-js'
import { ALL_BYTES, ask, base64, type ContractCase, call, newSession } from './service.ts'

const NOT_FOUND = 5
const INVALID_ARGUMENT = 3

const results: ContractCase[] = [
  { command: ['echo', 'hé'], expected: { stdout: 'hé\n' } },
  { command: ['sh', '-c', 'echo e >&2; exit 3'], expected: { stderr: 'e\n', exit_code: 3 } },
  { command: ['sh', '-c', 'kill -9 $$'], expected: { exit_code: 137, signal: 9, cause: 'signaled' } },
  { command: ['printf', '\\377'], expected: { stdout: '\ufffd', stdout_bytes: Buffer.from([255]) } },
].map(({ command, expected }) => ({
  name: `RunCommand ${command.join(' ')}`,
  run: async (t, service) => {
    const session_id = await newSession(t, service)
    const { usage, run_id, ...response } = await call(service, 'RunCommand', { session_id, command })
    t.deepEqual(response, {
      stdout: '',
      stderr: '',
      exit_code: 0,
      signal: 0,
      cause: 'exited',
      error: '',
      stdout_truncated: false,
      stderr_truncated: false,
      stdout_bytes: Buffer.alloc(0),
      stderr_bytes: Buffer.alloc(0),
      ...expected,
    })
    t.truthy(run_id)
    t.truthy(usage)
  },
}))

const ofUnknownSession: ContractCase[] = (
  [
    ['RunCommand', { command: ['true'] }],
    ['WriteFile', { path: '/tmp/a' }],
    ['WriteFiles', { files: [{ path: '/tmp/a' }] }],
    ['ReadFile', { path: '/tmp/a' }],
    ['SetEnv', {}],
    ['SetCwd', { cwd: '/tmp' }],
  ] as const
).map(([method, request]) => ({
  name: `${method} of an unknown session is NOT_FOUND`,
  run: async (t, service) => {
    for (const session_id of ['00000000-0000-4000-8000-000000000000', '', 'a.b']) {
      const error = await t.throwsAsync<ServiceError>(call(service, method, { ...request, session_id }))
      t.is(error?.code, NOT_FOUND)
      t.deepEqual(error?.metadata.get('osb-code'), ['session_not_found'])
    }
  },
}))

export const grpcCases: ContractCase[] = [
  ...results,
  ...ofUnknownSession,
  {
    name: 'RunCommand: what cannot be executed is 127 and says why',
    run: async (t, service) => {
      const session_id = await newSession(t, service)
      const response = await call(service, 'RunCommand', { session_id, command: ['/no/such'] })
      t.like(response, { exit_code: 127, signal: 0, stderr: '', cause: 'exec_failed' })
      t.not(response.error, '')
    },
  },
  {
    name: 'RunCommand: env, cwd and stdin; 0 and an empty cwd are the default',
    run: async (t, service) => {
      const session_id = await newSession(t, service, { env: { A: '1' } })
      const command = ['sh', '-c', 'echo "$A-$B"; pwd; cat']
      const stdin = Buffer.from('in')
      const zeros = { time_ms: 0, mem_kb: 0, fsize_kb: 0, nofile: 0, cwd: '' }
      const response = await call(service, 'RunCommand', {
        session_id,
        command,
        stdin,
        env: { B: '2' },
        ...zeros,
      })
      t.like(response, { stdout: '1-2\n/\nin', exit_code: 0 })
      t.is(
        (await call(service, 'RunCommand', { session_id, command: ['pwd'], cwd: '/tmp' })).stdout,
        '/tmp\n',
      )
    },
  },
  {
    name: 'RunCommand: bad input is INVALID_ARGUMENT and names the field of the message',
    run: async (t, service) => {
      const session_id = await newSession(t, service)
      for (const [field, request] of [
        ['command', { command: [] }],
        ['time_ms', { command: ['true'], time_ms: '18446744073709551615' }],
        ['mem_kb', { command: ['true'], mem_kb: 1 }],
        ['cwd', { command: ['true'], cwd: 'relative' }],
      ] as const) {
        const error = await t.throwsAsync<ServiceError>(
          call(service, 'RunCommand', { session_id, ...request }),
        )
        t.is(error?.code, INVALID_ARGUMENT)
        t.deepEqual(error?.metadata.get('osb-field'), [field])
        t.true(error?.details.startsWith(`${field}:`), error?.details)
      }
    },
  },
  {
    name: 'SetEnv and SetCwd are what HTTP shows',
    run: async (t, service) => {
      const session_id = await newSession(t, service, { env: { A: '1' } })
      t.deepEqual(await call(service, 'SetEnv', { session_id, env: { B: '2' } }), { success: true })
      t.deepEqual(await call(service, 'SetCwd', { session_id, cwd: '/tmp' }), { success: true })
      const shown = (await ask(service, 'GET', `/sessions/${session_id}`)).json
      t.like(shown, { env: { A: '1', B: '2' }, cwd: '/tmp' })
    },
  },
  {
    name: 'files: any bytes are exact, over both front-ends',
    run: async (t, service) => {
      const session_id = await newSession(t, service)
      const path = '/tmp/new/file'
      const ok = { success: true, error: '' }
      t.deepEqual(await call(service, 'WriteFile', { session_id, path, content: ALL_BYTES }), ok)
      t.deepEqual(await call(service, 'ReadFile', { session_id, path }), { content: ALL_BYTES, error: '' })
      const http = await ask(service, 'GET', `/sessions/${session_id}/files/read?path=${path}`)
      t.is(http.json.content, base64(ALL_BYTES))
    },
  },
  {
    name: 'files: what is wrong with a file is in the response, with status OK',
    run: async (t, service) => {
      const session_id = await newSession(t, service)
      const read = await call(service, 'ReadFile', { session_id, path: '/tmp/none' })
      t.deepEqual(read.content, Buffer.alloc(0))
      t.not(read.error, '')
      for (const path of ['relative', '/tmp']) {
        const written = await call(service, 'WriteFile', { session_id, path, content: ALL_BYTES })
        t.false(written.success)
        t.not(written.error, '')
      }
      const files = [{ path: '/tmp/1', content: ALL_BYTES }, { path: 'relative' }]
      const bulk = await call(service, 'WriteFiles', { session_id, files })
      t.like(bulk, { success: false, errors: [{ path: 'relative' }] })
      t.deepEqual((await call(service, 'ReadFile', { session_id, path: '/tmp/1' })).content, ALL_BYTES)
    },
  },
  {
    name: 'a deadline ends the run',
    needsSandbox: true,
    run: async (t, service) => {
      const session_id = await newSession(t, service)
      const request = { session_id, command: ['sleep', '60'], wall_ms: 60_000 }
      const settings = { deadline: Date.now() + 500 }
      const error = await t.throwsAsync<ServiceError>(call(service, 'RunCommand', request, settings))
      t.is(error?.code, 4)
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      t.is((await ask(service, 'GET', `/sessions/${session_id}`)).json.status, 'idle')
    },
  },
]
