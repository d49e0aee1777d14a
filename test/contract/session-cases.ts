import { ask, assertProblem, type ContractCase, newSession, run } from './service.ts'

const printenv = ['/bin/sh', '-c', 'echo "$A-$B"']
const unknown = '00000000-0000-4000-8000-000000000000'

const ofUnknownSession: ContractCase[] = (
  [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/run', { command: ['true'] }],
    ['POST', '/env', { env: {} }],
    ['POST', '/cwd', { cwd: '/' }],
    ['POST', '/files/write', { path: '/tmp/a', content: '' }],
    ['POST', '/files/write-bulk', { files: [] }],
    ['GET', '/files/read?path=/tmp/a'],
    ['GET', '/files/list?path=/tmp'],
  ] as const
).map(([method, path, body]) => ({
  name: `${method} /sessions/:id${path} of an unknown session is a 404`,
  run: async (t, service) => {
    for (const id of [unknown, 'a.b', 'x'.repeat(200)]) {
      const answer = await ask(service, method, `/sessions/${id}${path}`, body)
      assertProblem(t, answer, 404, { code: 'session_not_found' })
    }
  },
}))

const refused: ContractCase[] = [
  { field: 'env.A', args: { env: { A: 1 } } },
  { field: 'ttl_secs', args: { ttl_secs: 0 } },
  { field: 'metadata.user', args: { metadata: { user: 7 } } },
  { field: 'limits.time', args: { limits: { time: -1 } } },
  { field: 'network', args: { network: 'everything' } },
  { field: 'nope', args: { nope: 1 } },
].map(({ field, args }) => ({
  name: `POST /sessions refuses ${field} in ${JSON.stringify(args)}`,
  run: async (t, service) => {
    const answer = await ask(service, 'POST', '/sessions', args)
    assertProblem(t, answer, 400, { code: 'invalid_argument', field })
  },
}))

export const sessionCases: ContractCase[] = [
  ...ofUnknownSession,
  ...refused,
  {
    name: 'GET /health answers OK',
    run: async (t, service) => {
      const health = await ask(service, 'GET', '/health')
      t.is(health.status, 200)
      t.is(health.text, 'OK')
      const verbose = await ask(service, 'GET', '/health?verbose')
      t.is(verbose.json.status, 'ok')
      t.true(verbose.json.workers.length >= 1)
    },
  },
  {
    name: 'a route that does not exist, and a method that does not',
    run: async (t, service) => {
      assertProblem(t, await ask(service, 'GET', '/nope'), 404, { code: 'route_not_found' })
      assertProblem(t, await ask(service, 'GET', '/run'), 405, { code: 'method_not_allowed' })
    },
  },
  {
    name: 'a session is created, shown, listed and deleted',
    run: async (t, service) => {
      const mark = `m${process.pid}-${Math.random()}`
      const metadata = { mark, user: 'ü' }
      const id = await newSession(t, service, {
        env: { A: '1' },
        metadata,
        ttl_secs: 60,
        limits: { time: 1_000 },
      })
      const shown = await ask(service, 'GET', `/sessions/${id}`)
      t.is(shown.status, 200)
      const { age_secs, idle_secs, expires_at, ...info } = shown.json
      t.like(info, {
        id,
        env: { A: '1' },
        cwd: '/',
        preview_url: null,
        ports: [],
        status: 'idle',
        metadata,
        limits: { time: 1_000 },
      })
      t.true(age_secs >= 0 && age_secs < 30 && idle_secs >= 0 && idle_secs <= age_secs)
      const left = Date.parse(expires_at) - Date.now()
      t.true(left > 20_000 && left <= 61_000, expires_at)

      const ids = async (query: string) =>
        (await ask(service, 'GET', `/sessions${query}`)).json.map((session: { id: string }) => session.id)
      t.true((await ids('')).includes(id))
      t.deepEqual(await ids(`?metadata.mark=${mark}`), [id])
      t.deepEqual(await ids(`?metadata.mark=${mark}&metadata.user=%C3%BC`), [id])
      t.deepEqual(await ids(`?metadata.mark=${mark}&metadata.user=other`), [])

      const deleted = await ask(service, 'DELETE', `/sessions/${id}`)
      t.is(deleted.status, 204)
      t.is(deleted.text, '')
      assertProblem(t, await ask(service, 'GET', `/sessions/${id}`), 404, { code: 'session_not_found' })
      assertProblem(t, await ask(service, 'DELETE', `/sessions/${id}`), 404, { code: 'session_not_found' })
      t.deepEqual(await ids(`?metadata.mark=${mark}`), [])
    },
  },
  {
    name: 'a session without a body has the defaults',
    run: async (t, service) => {
      const created = await ask(service, 'POST', '/sessions')
      t.is(created.status, 200)
      t.deepEqual(Object.keys(created.json).sort(), ['preview_url', 'session_id'])
      t.is(created.json.preview_url, null)
      const path = `/sessions/${created.json.session_id}`
      t.like((await ask(service, 'GET', path)).json, { env: {}, cwd: '/', metadata: {} })
      t.is((await ask(service, 'DELETE', path)).status, 204)
    },
  },
  {
    name: "env is merged: the run's over the session's, set over created",
    run: async (t, service) => {
      const id = await newSession(t, service, { env: { A: '1', B: '2' } })
      const shown = async (args = {}) => (await run(t, service, { command: printenv, ...args }, id)).stdout
      t.is(await shown(), '1-2\n')
      t.is(await shown({ env: { B: '3' } }), '1-3\n')
      t.is(await shown(), '1-2\n')
      t.is((await ask(service, 'POST', `/sessions/${id}/env`, { env: { B: '4', C: '5' } })).status, 200)
      t.is(await shown(), '1-4\n')
      t.deepEqual((await ask(service, 'GET', `/sessions/${id}`)).json.env, { A: '1', B: '4', C: '5' })
      const missing = await ask(service, 'POST', `/sessions/${id}/env`, {})
      assertProblem(t, missing, 400, { code: 'invalid_argument', field: 'env' })
    },
  },
  {
    name: "cwd is the session's unless the run names another than /",
    run: async (t, service) => {
      const id = await newSession(t, service)
      const pwd = async (args = {}) => (await run(t, service, { command: ['pwd'], ...args }, id)).stdout
      t.is(await pwd(), '/\n')
      t.is(await pwd({ cwd: '/tmp' }), '/tmp\n')
      t.is((await ask(service, 'POST', `/sessions/${id}/cwd`, { cwd: '/tmp' })).status, 200)
      t.is(await pwd(), '/tmp\n')
      t.is(await pwd({ cwd: '/' }), '/tmp\n')
      t.is(await pwd({ cwd: '/usr' }), '/usr\n')
      t.is((await ask(service, 'GET', `/sessions/${id}`)).json.cwd, '/tmp')
      for (const cwd of ['/etc/passwd', '/none']) {
        const noDirectory = await ask(service, 'POST', `/sessions/${id}/cwd`, { cwd })
        assertProblem(t, noDirectory, 400, { code: 'not_a_directory', field: 'cwd' })
      }
      const relative = await ask(service, 'POST', `/sessions/${id}/cwd`, { cwd: 'tmp' })
      assertProblem(t, relative, 400, { code: 'invalid_argument', field: 'cwd' })
    },
  },
  {
    name: 'deleting a session ends its run with session_ended',
    needsSandbox: true,
    run: async (t, service) => {
      const id = await newSession(t, service)
      const running = run(t, service, { command: ['sleep', '60'], wall: 60_000 }, id)
      await until(async () => (await ask(service, 'GET', `/sessions/${id}`)).json.status === 'running')
      t.is((await ask(service, 'DELETE', `/sessions/${id}`)).status, 204)
      t.is((await running).cause, 'session_ended')
    },
  },
  {
    name: 'an idle session expires, a running one does not',
    needsSandbox: true,
    run: async (t, service) => {
      const idle = await newSession(t, service, { ttl_secs: 1 })
      const busy = await newSession(t, service, { ttl_secs: 1 })
      t.like(await run(t, service, { command: ['sleep', '3'] }, busy), { exit_code: 0, cause: 'exited' })
      await until(async () => (await ask(service, 'GET', `/sessions/${idle}`)).status === 404)
      t.pass()
    },
  },
]

/** Asks every 50 ms, for 20 s at most. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('never came true')
}
