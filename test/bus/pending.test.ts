import test from 'ava'
import type { SandboxError } from '../../proto/errors.ts'
import { subjects } from '../../proto/subjects.ts'
import { openBus } from '../../src/bus/bus.ts'
import { MAX_PENDING_REQUESTS } from '../../src/bus/client.ts'
import { silent, startNats, until } from './nats-fixture.ts'

test('the requests that wait are bounded, and there is room again when they end', async (t) => {
  const nats = await startNats()
  const bus = await openBus({ url: nats.url, name: 'pending', log: silent })
  const request = {
    subject: subjects.command('default', 's', 'wait'),
    args: {},
    tenant: 'default',
    requestId: 'r',
    actor: 'test',
  }
  let finish: () => void = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  let under = 0
  bus.server.serve(request.subject, async () => {
    under += 1
    await finished
    return { value: under, body: new Uint8Array(0) }
  })
  const answers = Array.from({ length: MAX_PENDING_REQUESTS }, () => bus.client.request(request, 'no_worker'))
  const error = await t.throwsAsync<SandboxError>(bus.client.request(request, 'no_worker'))
  t.is(error?.code, 'too_many_runs')
  await until(() => under === MAX_PENDING_REQUESTS, 30_000)
  finish()
  await Promise.all(answers)
  t.is((await bus.client.request(request, 'no_worker')).value, MAX_PENDING_REQUESTS + 1)
  await bus.close()
  await nats.close()
})
