/** The example of src/bus/README.md, run as printed against a worker. */
import { execFile } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { ERROR_KINDS } from '../../proto/errors.ts'
import { HEADERS } from '../../proto/message.ts'
import { openBus } from '../../src/bus/bus.ts'
import { startWorker } from '../../src/worker/start-worker.ts'
import { FakeProvider } from '../worker/fake-sandbox.ts'
import { silent, startNats } from './nats-fixture.ts'

const PROJECT = join(import.meta.dirname, '../../..')

test('the example prints what it should', async (t) => {
  const readme = await readFile(join(PROJECT, 'src/bus/README.md'), 'utf8')
  const example = /```js\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  // Inside the project, so that it finds the `nats` package.
  const file = join(import.meta.dirname, `example-${process.pid}.mjs`)
  await writeFile(file, example)
  const nats = await startNats()
  const bus = await openBus({ url: nats.url, name: 'worker', log: silent })
  await bus.events.ensureStream()
  const worker = startWorker({
    bus: bus.server,
    events: bus.events,
    provider: new FakeProvider(),
    log: silent,
    workerId: 'w1',
    maxSessions: 4,
    maxRunning: 4,
    previewDomain: null,
    allowHostNetwork: false,
    limits: {},
    version: '0',
  })
  t.teardown(async () => {
    await rm(file)
    await worker.stop(0)
    await bus.close()
    await nats.close()
  })
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], {
    env: { ...process.env, NATS_URL: nats.url },
    timeout: 30_000,
  })
  t.is(stderr, '')
  t.deepEqual(stdout.split('\n'), [
    'exited 3 "hello\\n"',
    'dev.opensandbox.session.created example []',
    'dev.opensandbox.session.env_set example ["NAME"]',
    'dev.opensandbox.run.started example ["NAME"]',
    'dev.opensandbox.run.finished example "exited"',
    'dev.opensandbox.session.ended example "expired"',
    '',
  ])
})

test('the README names every header, and no code that does not exist', async (t) => {
  const readme = await readFile(join(PROJECT, 'src/bus/README.md'), 'utf8')
  for (const name of Object.values(HEADERS)) t.true(readme.includes(`\`${name}`), name)
  t.true('bus_unavailable' in ERROR_KINDS)
})
