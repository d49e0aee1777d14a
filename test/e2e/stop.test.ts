/** SIGTERM: what runs may finish, then nothing is left. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { leftovers } from '../helpers/host-snapshot.ts'
import { type ServiceProcess, startProcess } from './service-process.ts'

async function post(service: ServiceProcess, path: string, body: object) {
  const response = await fetch(service.url + path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  })
  return { status: response.status, json: await response.json() }
}

async function busyService(command: string[], wall = 60_000) {
  const service = await startProcess()
  const created = await post(service, '/sessions', {})
  const idle = await post(service, '/sessions', {})
  const path = `/sessions/${created.json.session_id}/run`
  await post(service, `/sessions/${idle.json.session_id}/run`, { command: ['sh', '-c', 'setsid sleep 60 &'] })
  const running = post(service, path, { command, wall })
  await sleep(300)
  return { service, running }
}

async function assertGone(t: import('ava').ExecutionContext, service: ServiceProcess) {
  t.is(await service.exited, 0)
  await service.stop()
  t.deepEqual(await leftovers(service.before), [])
}

test('a run under way finishes and is answered; then everything is gone', async (t) => {
  const { service, running } = await busyService(['sh', '-c', 'sleep 1; echo finished'])
  service.child.kill('SIGTERM')
  const { status, json } = await running
  t.is(status, 200)
  t.like(json, { stdout: 'finished\n', exit_code: 0, cause: 'exited' })
  await assertGone(t, service)
})

test('a second SIGTERM hurries: the run ends with session_ended, and is answered', async (t) => {
  const { service, running } = await busyService(['sleep', '60'])
  service.child.kill('SIGTERM')
  await sleep(300)
  service.child.kill('SIGTERM')
  const { status, json } = await running
  t.is(status, 200)
  t.like(json, { exit_code: null, cause: 'session_ended' })
  await assertGone(t, service)
})

test('killed without a chance to clean up: its processes end with it, the next start clears the rest away', async (t) => {
  const { service, running } = await busyService(['sleep', '60'])
  const failed = t.throwsAsync(running)
  service.child.kill('SIGKILL')
  await failed
  await service.exited
  const left = (await leftovers(service.before, 5_000)).filter((item) => !item.startsWith('cgroup'))
  t.deepEqual(left, [])
  const next = await startProcess(service)
  t.is((await post(next, '/run', { command: ['echo', 'again'] })).json.stdout, 'again\n')
  next.child.kill('SIGTERM')
  await assertGone(t, next)
})
