import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { post, runCli, startCliService, temporaryDirectory } from '../helpers/cli-process.ts'
import { leftovers, snapshotHost } from '../helpers/host-snapshot.ts'
import { privileged } from '../helpers/privileged.ts'

/** Teardown of a cgroup waits for the kernel. */
const GONE_TIMEOUT_MS = 5_000
const RUNNING_TIMEOUT_MS = 20_000

privileged('serves until SIGTERM, then leaves nothing behind', async (t) => {
  const stateDir = await temporaryDirectory(t)
  const before = snapshotHost([stateDir])
  const service = await startCliService(t, [], { stateDir })
  const marked = { ...before, marks: [stateDir, service.workerId] }
  t.is(await (await fetch(`${service.url}/health`)).text(), 'OK')
  const { status, body } = await post(`${service.url}/run`, { command: ['/bin/echo', 'hello'] })
  t.is(status, 200)
  t.is(body.stdout, 'hello\n')
  t.not((await leftovers(marked, 0)).length, 0, 'the marks must find what is running')

  service.child.kill('SIGTERM')
  const { code, stderr } = await service.finished
  t.is(code, 0)
  t.is(stderr, '')
  t.deepEqual(await leftovers(marked, GONE_TIMEOUT_MS), [])
  t.deepEqual((await readdir(stateDir)).sort(), ['nats'])
})

privileged('SIGTERM lets a running command finish', async (t) => {
  const service = await startCliService(t, ['--grace-secs', '20'])
  const { answer } = await runInSession(service.url, { command: ['/bin/sh', '-c', 'sleep 1; echo done'] })
  service.child.kill('SIGTERM')
  const { status, body } = await answer
  t.is(status, 200)
  t.is(body.cause, 'exited')
  t.is(body.stdout, 'done\n')
  t.is((await service.finished).code, 0)
})

privileged('the end of the grace period ends a running command', async (t) => {
  const service = await startCliService(t, ['--grace-secs', '1'])
  const { answer } = await runInSession(service.url, { command: ['/bin/sleep', '60'], wall: 60_000 })
  service.child.kill('SIGTERM')
  const { status, body } = await answer
  t.is(status, 200)
  t.is(body.cause, 'session_ended')
  t.is((await service.finished).code, 0)
})

privileged('a second signal does not wait for the grace period', async (t) => {
  const stateDir = await temporaryDirectory(t)
  const before = snapshotHost([stateDir])
  const service = await startCliService(t, ['--grace-secs', '600'], { stateDir })
  const { answer } = await runInSession(service.url, { command: ['/bin/sleep', '60'], wall: 60_000 })
  service.child.kill('SIGTERM')
  await service.until(/again to hurry/)
  await sleep(300)
  service.child.kill('SIGTERM')
  const { status, body } = await answer
  t.is(status, 200)
  t.is(body.cause, 'session_ended')
  t.is((await service.finished).code, 0)
  t.deepEqual(await leftovers({ ...before, marks: [stateDir, service.workerId] }, GONE_TIMEOUT_MS), [])
})

privileged(
  'a killed service leaves no process, and the next one on its state directory no cgroup',
  async (t) => {
    const stateDir = await temporaryDirectory(t)
    const before = snapshotHost([stateDir])
    const first = await startCliService(t, [], { stateDir })
    const { body } = await post(`${first.url}/sessions`, {})
    t.is(typeof body.session_id, 'string')
    first.child.kill('SIGKILL')
    await first.finished
    const left = await leftovers({ ...before, marks: [stateDir, first.workerId] }, GONE_TIMEOUT_MS)
    t.deepEqual(
      left.filter((line) => !line.startsWith('cgroup ')),
      [],
    )

    const second = await startCliService(t, ['--worker-id', first.workerId], { stateDir })
    const { body: result } = await post(`${second.url}/run`, { command: ['/bin/echo', 'again'] })
    t.is(result.stdout, 'again\n')
    second.child.kill('SIGTERM')
    t.is((await second.finished).code, 0)
    t.deepEqual(await leftovers({ ...before, marks: [stateDir, first.workerId] }, GONE_TIMEOUT_MS), [])
  },
)

privileged('a port in use is said in one line, and nothing is left', async (t) => {
  const first = await startCliService(t)
  const stateDir = await temporaryDirectory(t)
  const before = snapshotHost([stateDir])
  const { port } = new URL(first.url)
  const args = ['serve', '--port', port, '--grpc-port', '0', '--state-dir', stateDir, '--pool-size', '0']
  const { code, stderr } = await runCli(args)
  t.is(code, 1)
  t.is(
    stderr,
    `opensandbox: port ${port} of 127.0.0.1 is in use; stop what listens there, or choose another by --port\n`,
  )
  const grpcPort = first.grpcAddress.split(':')[1] ?? ''
  const second = await runCli([...args, '--port', '0', '--grpc-port', grpcPort])
  t.is(second.code, 1)
  t.is(
    second.stderr,
    `opensandbox: port ${grpcPort} of 127.0.0.1 is in use; stop what listens there, or choose another by --grpc-port\n`,
  )
  t.deepEqual(await leftovers(before, GONE_TIMEOUT_MS), [])
})

privileged('a state directory serves one service at a time', async (t) => {
  const first = await startCliService(t)
  const args = ['serve', '--port', '0', '--grpc-port', '0', '--state-dir', first.stateDir]
  const { code, stderr } = await runCli(args)
  t.is(code, 1)
  t.is(
    stderr,
    `opensandbox: the state directory ${first.stateDir} is in use by process ${first.child.pid}; stop it, or choose another by --state-dir\n`,
  )
})

privileged('what is missing is said in one line with the remedy', async (t) => {
  const stateDir = await temporaryDirectory(t)
  const { code, stderr } = await runCli(['serve', '--state-dir', stateDir], {
    env: { NATS_SERVER_BIN: '/nonexistent/nats-server' },
  })
  t.is(code, 1)
  t.regex(stderr, /^opensandbox: nats-server is not at \/nonexistent\/nats-server: install it .*\n$/)
})

privileged('a misspelt variable is told', async (t) => {
  const stateDir = await temporaryDirectory(t)
  const { stdout } = await runCli(['serve', '--state-dir', stateDir], {
    env: { OPENSANDBOX_PROT: '1', NATS_SERVER_BIN: '/nonexistent' },
  })
  t.regex(stdout.toString(), /"name":"OPENSANDBOX_PROT","msg":"unknown environment variable"/)
})

privileged('each line of the log is JSON with level and time, and requests keep their id', async (t) => {
  const service = await startCliService(t, ['--log-level', 'debug'])
  await fetch(`${service.url}/run`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-request-id': 'my-request' },
    body: JSON.stringify({ command: ['/bin/true'] }),
  })
  await service.until(/my-request/)
  service.child.kill('SIGTERM')
  const { stdout } = await service.finished
  for (const line of stdout.toString().trim().split('\n')) {
    const { level, time, msg } = JSON.parse(line)
    t.is(typeof level, 'string')
    t.is(typeof msg, 'string')
    t.false(Number.isNaN(Date.parse(time)))
  }
})

/** Starts the command in a session; resolves when it runs. `answer` comes when it has ended. */
async function runInSession(url: string, run: object) {
  const { body } = await post(`${url}/sessions`, {})
  const session = `${url}/sessions/${body.session_id}`
  const answer = post(`${session}/run`, run)
  const deadline = performance.now() + RUNNING_TIMEOUT_MS
  for (;;) {
    const { status } = (await (await fetch(session)).json()) as { status: string }
    if (status === 'running') return { answer }
    if (performance.now() > deadline) throw new Error('the command does not run')
    await sleep(20)
  }
}
