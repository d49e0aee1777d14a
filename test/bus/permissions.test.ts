/** Each role of infra/nats.conf can do its work, and no more. */
import { join } from 'node:path'
import test from 'ava'
import { connect } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import { subjects, WORKER_QUEUE } from '../../proto/subjects.ts'
import { type Bus, openBus } from '../../src/bus/bus.ts'
import { type NatsFixture, startNats, until } from './nats-fixture.ts'

const config = join(import.meta.dirname, '../../../infra/nats.conf')
let nats: NatsFixture
const open: Bus[] = []
const problems: unknown[] = []

test.before(async () => {
  nats = await startNats({ config })
})
test.after.always(async () => {
  await Promise.all(open.map((bus) => bus.close()))
  await nats?.close()
})

async function busOf(user: string): Promise<Bus> {
  const report = (fields: object, message: string) => problems.push({ user, ...fields, message })
  const log = { debug: () => {}, info: () => {}, warn: report, error: report }
  const bus = await openBus({ url: `nats://${user}:change-me@127.0.0.1:${nats.port}`, name: user, log })
  open.push(bus)
  return bus
}

const ask = { args: {}, tenant: 'default', requestId: 'r', actor: 'test' }

test.serial('worker, gateway and auditor work together', async (t) => {
  const worker = await busOf('worker')
  await worker.events.ensureStream()
  let cancelled = false
  worker.server.serve(
    subjects.controlOfAllTenants('run'),
    async (request) => {
      request.signal.addEventListener('abort', () => {
        cancelled = true
      })
      if (request.args !== null && 'wait' in (request.args as object)) await new Promise(() => {})
      return { value: {}, body: await request.body(1_000_000) }
    },
    { queue: WORKER_QUEUE },
  )
  worker.server.serve(subjects.listOfAllTenants(), async () => ({ value: ['s'], body: new Uint8Array(0) }))
  worker.server.serve(subjects.workerCensus(), async () => {
    worker.server.publish(subjects.workerInfo('w'), { id: 'w' })
    return { value: {}, body: new Uint8Array(0) }
  })
  await worker.client.gather({ ...ask, subject: subjects.list('default') })

  const gateway = await busOf('gateway')
  const subject = subjects.control('default', 'run')
  const body = Buffer.alloc(900_000, 'g')
  const answer = await gateway.client.request({ ...ask, subject, body }, 'no_worker')
  t.true(body.equals(answer.body))
  t.deepEqual(
    (await gateway.client.gather({ ...ask, subject: subjects.list('default') })).map(({ value }) => value),
    [['s']],
  )
  t.deepEqual(
    gateway.client.workers().map(({ id }) => id),
    ['w'],
  )
  const hangUp = new AbortController()
  const waiting = gateway.client.request(
    { ...ask, subject, args: { wait: true }, signal: hangUp.signal },
    'no_worker',
  )
  setTimeout(() => hangUp.abort(), 200)
  t.is((await t.throwsAsync<SandboxError>(waiting))?.code, 'timeout')
  await until(() => cancelled)

  await worker.events.append({ id: 's.1', tenant: 'default', subject: 's', sequence: 1 } as never)
  const auditor = await busOf('auditor')
  const ids: string[] = []
  for await (const { id } of auditor.events.read({ follow: false })) ids.push(id)
  t.deepEqual(ids, ['s.1'])
  t.deepEqual(problems, [])
})

test.serial(
  'a service of one tenant reaches that tenant alone, and an auditor changes nothing',
  async (t) => {
    const refusals = async (user: string, subject: string) => {
      const nc = await connect({ servers: `127.0.0.1:${nats.port}`, user, pass: 'change-me' })
      let refused = false
      void (async () => {
        for await (const status of nc.status()) refused ||= status.type === 'error'
      })()
      nc.publish(subject, '{}')
      await nc.flush()
      await new Promise((resolve) => setTimeout(resolve, 20))
      await nc.close()
      return refused
    }
    const eavesdropper = await connect({
      servers: `127.0.0.1:${nats.port}`,
      user: 'acme',
      pass: 'change-me',
      inboxPrefix: '_INBOX.acme',
    })
    for (const inbox of ['_INBOX.>', '_INBOX.gateway.>']) {
      const error = await new Promise((resolve) => eavesdropper.subscribe(inbox, { callback: resolve }))
      t.regex(String(error), /Permissions Violation for Subscription/)
    }
    const own = await eavesdropper.request(subjects.control('acme', 'run'), '{}', { timeout: 2_000 })
    t.is(own.string(), '{}')
    await eavesdropper.close()

    t.false(await refusals('acme', subjects.control('acme', 'create')))
    t.false(await refusals('acme', subjects.command('acme', 's', 'delete')))
    t.true(await refusals('acme', subjects.control('default', 'create')))
    t.true(await refusals('acme', subjects.command('default', 's', 'delete')))
    t.true(await refusals('acme', subjects.cancel('default', 'r')))
    t.true(await refusals('acme', subjects.events('acme', 's')))
    t.true(await refusals('auditor', subjects.events('default', 's')))
    t.true(await refusals('auditor', subjects.command('default', 's', 'get')))
    t.true(await refusals('auditor', '$JS.API.STREAM.DELETE.OSB_EVENTS'))
    t.true(await refusals('gateway', subjects.events('default', 's')))
    t.true(await refusals('gateway', '$JS.API.STREAM.DELETE.OSB_EVENTS'))
  },
)
