import { once } from 'node:events'
import { privateServerUrl } from '../../src/bus/private-server.ts'
import { CliProcess, post, startCliService, temporaryDirectory } from '../helpers/cli-process.ts'
import { privileged } from '../helpers/privileged.ts'

/** The bus here is the private server of a third service, which takes no sessions that the worker would take. */
privileged('a gateway and a worker in processes of their own, on one bus', async (t) => {
  const host = await startCliService(t)
  const natsUrl = await privateServerUrl(host.stateDir)
  if (natsUrl === undefined) return t.fail('no private server')
  const stateDir = await temporaryDirectory(t)
  const worker = new CliProcess([
    ...['serve', '--role', 'worker', '--nats-url', natsUrl, '--state-dir', stateDir],
    ...['--worker-id', `role-${process.pid}`, '--pool-size', '1', '--log-format', 'json'],
  ])
  const gateway = new CliProcess([
    ...['serve', '--role', 'gateway', '--nats-url', natsUrl, '--port', '0', '--grpc-port', '0'],
    ...['--log-format', 'json'],
  ])
  t.teardown(async () => {
    for (const { child } of [gateway, worker]) child.kill('SIGKILL')
    await Promise.all([gateway.finished, worker.finished])
  })
  await worker.until(/"msg":"ready"/)
  const [, url] = await gateway.until(/ready: HTTP on (\S+),/)

  const created = await Promise.all(Array.from({ length: 16 }, () => post(`${url}/sessions`, {})))
  t.deepEqual(
    created.map(({ status }) => status),
    created.map(() => 200),
  )
  const list = (await (await fetch(`${url}/sessions`)).json()) as { id: string; worker: string }[]
  t.deepEqual(
    [...new Set(list.map(({ worker: owner }) => owner))].sort(),
    [`role-${process.pid}`, host.workerId].sort(),
  )
  const far = list.find(({ worker: owner }) => owner === `role-${process.pid}`)
  const { body } = await post(`${url}/sessions/${far?.id}/run`, { command: ['/bin/echo', 'far'] })
  t.is(body.stdout, 'far\n')

  for (const { child, finished } of [gateway, worker]) {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
    t.is((await finished).code, 0)
  }
  t.is((await fetch(`${host.url}/sessions/${far?.id}`)).status, 404)
})
