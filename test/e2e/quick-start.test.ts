/** What the README promises, by every way in: HTTP, gRPC, NATS, the command line, and the events of all of it. */
import test from 'ava'
import { connect, headers } from 'nats'
import { ask, base64, newSession } from '../contract/service.ts'
import { grpcClient } from '../grpc/grpc-client.ts'
import { leftovers } from '../helpers/host-snapshot.ts'
import { opensandbox, type ServiceProcess, startProcess } from './service-process.ts'

let service: ServiceProcess

test.before(async () => {
  service = await startProcess()
})

test.after.always(async (t) => {
  await service?.stop()
  if (service !== undefined) t.deepEqual(await leftovers(service.before), [])
})

const PROGRAM = 'import os\nprint("hello", os.environ["NAME"])\nopen("/app/seen", "a").write("x")\n'

async function eventsOf(sessionId: string): Promise<{ type: string; data: Record<string, unknown> }[]> {
  const { stdout } = await opensandbox([
    'events',
    '--state-dir',
    service.stateDir,
    '--session',
    sessionId,
    '--json',
  ])
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

test('HTTP: a one-shot run, and a session that keeps files and environment; all of it is in the events', async (t) => {
  const contract = { url: service.url, grpc: grpcClient(service.grpcAddress) }
  t.teardown(() => contract.grpc.close())
  const git = await ask(contract, 'POST', '/run', { command: ['git', '--version'] })
  t.regex(git.json.stdout, /^git version /)
  const id = await newSession(t, contract, { env: { NAME: 'world' } })
  const write = { path: '/app/hello.py', content: base64(PROGRAM) }
  t.is((await ask(contract, 'POST', `/sessions/${id}/files/write`, write)).status, 200)
  for (const name of ['world', 'moon']) {
    const { json } = await ask(contract, 'POST', `/sessions/${id}/run`, {
      command: ['python3', '/app/hello.py'],
    })
    t.like(json, { stdout: `hello ${name}\n`, stderr: '', exit_code: 0, cause: 'exited' })
    await ask(contract, 'POST', `/sessions/${id}/env`, { env: { NAME: 'moon' } })
  }
  const { json } = await ask(contract, 'GET', `/sessions/${id}/files/read?path=/app/seen`)
  t.is(json.content, base64('xx'))
  t.is((await ask(contract, 'DELETE', `/sessions/${id}`)).status, 204)
  const events = await eventsOf(id)
  t.deepEqual(
    events.map(({ type }) => type.replace('dev.opensandbox.', '')),
    [
      'session.created',
      'session.file_written',
      'run.started',
      'run.finished',
      'session.env_set',
      'run.started',
      'run.finished',
      'session.env_set',
      'session.ended',
    ],
  )
  t.false(JSON.stringify(events).includes('moon'))
})

test('gRPC: the same session by another front-end', async (t) => {
  const contract = { url: service.url, grpc: grpcClient(service.grpcAddress) }
  t.teardown(() => contract.grpc.close())
  const session_id = await newSession(t, contract)
  const call = async (method: string, request: object) =>
    (await contract.grpc.call(method, { session_id, ...request })).response
  await call('WriteFile', { path: '/app/hello.py', content: Buffer.from(PROGRAM) })
  await call('SetEnv', { env: { NAME: 'gRPC' } })
  t.like(await call('RunCommand', { command: ['python3', '/app/hello.py'] }), {
    stdout: 'hello gRPC\n',
    exit_code: 0,
  })
  t.like(await call('ReadFile', { path: '/app/seen' }), { content: Buffer.from('x'), error: '' })
})

test('NATS: any program that speaks the documented messages gets what HTTP gets', async (t) => {
  const natsUrl = await natsUrlOf(service)
  const { username, password, host } = new URL(natsUrl)
  const nats = await connect({ servers: host, user: username, pass: password })
  t.teardown(() => nats.close())
  const ask = async (subject: string, args: object) => {
    const head = headers()
    head.set('Osb-Actor', 'test')
    const answer = await nats.request(subject, JSON.stringify(args), { headers: head, timeout: 10_000 })
    const json = answer.headers?.get('Osb-Json')
    return json
      ? { value: JSON.parse(json), body: Buffer.from(answer.data).toString() }
      : { value: answer.json(), body: '' }
  }
  const created = await ask('osb.v1.ctl.default.create', { env: { NAME: 'bus' } })
  const id = (created.value as { session_id: string }).session_id
  const run = await ask(`osb.v1.cmd.default.${id}.run`, { command: ['sh', '-c', 'echo $NAME; echo err >&2'] })
  t.like(run.value, { exit_code: 0, cause: 'exited', stdout_bytes: 4, stderr_bytes: 4 })
  t.is(run.body, 'bus\nerr\n')
  await ask(`osb.v1.cmd.default.${id}.expire`, {})
  const error = await t.throwsAsync(ask(`osb.v1.cmd.default.${id}.run`, { command: ['true'] }))
  t.is((error as { code?: string }).code, '503')
})

test('the command line: output, exit code, stdin and causes of one command', async (t) => {
  t.deepEqual(await opensandbox(['run', '--', 'sh', '-c', 'cat; echo err >&2; exit 7'], 'in'), {
    code: 7,
    stdout: 'in',
    stderr: 'err\n',
  })
  const limited = await opensandbox(['--run', '--wall', '300', '--', 'sleep', '60'])
  t.is(limited.code, 137)
  t.regex(limited.stderr, /wall time limit/)
  const missing = await opensandbox(['run', '--', 'no-such-command'])
  t.is(missing.code, 127)
  t.regex(missing.stderr, /command not found: no-such-command/)
})

/** The address of the private server, with the credentials that a program needs. */
async function natsUrlOf({ stateDir }: ServiceProcess): Promise<string> {
  const { privateServerUrl } = await import('../../src/bus/private-server.ts')
  const url = await privateServerUrl(stateDir)
  if (url === undefined) throw new Error('no private server')
  return url
}
