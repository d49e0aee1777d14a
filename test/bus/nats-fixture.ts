/** A real nats-server with JetStream on a random port and a directory of its own, for one test file or test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { subjects } from '../../proto/subjects.ts'
import type { Bus } from '../../src/bus/bus.ts'

const BINARY = '/usr/sbin/nats-server'
export const silent = pino({ level: 'silent' })

export interface NatsFixture {
  url: string
  port: number
  pid(): number
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** On the same port and directory. */
  start(): Promise<void>
  /** Ends it and removes its directory. */
  close(): Promise<void>
}

export async function startNats(
  options: { jetStream?: boolean; config?: string } = {},
): Promise<NatsFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-nats-'))
  let child: ChildProcess | undefined
  const fixture: NatsFixture = {
    url: '',
    port: -1,
    pid: () => child?.pid ?? 0,
    kill: async () => {
      const ended = child
      child = undefined
      if (ended === undefined) return
      ended.kill('SIGKILL')
      await once(ended, 'exit')
    },
    start: async () => {
      const ports = join(directory, 'ports')
      await rm(ports, { recursive: true, force: true })
      await mkdir(ports)
      const given = await configuration(options, directory)
      const args = ['-a', '127.0.0.1', '-p', String(fixture.port), '--ports_file_dir', ports, ...given]
      child = spawn(BINARY, args, { stdio: 'ignore' })
      fixture.port = await pickedPort(ports)
      fixture.url = `nats://127.0.0.1:${fixture.port}`
    },
    close: async () => {
      await fixture.kill()
      await rm(directory, { recursive: true, force: true })
    },
  }
  try {
    await fixture.start()
  } catch (thrown) {
    await fixture.close()
    throw thrown
  }
  return fixture
}

/** A configuration file is used as it is, but for where the streams are kept. */
async function configuration(
  options: { jetStream?: boolean; config?: string },
  directory: string,
): Promise<string[]> {
  if (options.config === undefined) return options.jetStream === false ? [] : ['-js', '-sd', directory]
  const path = join(directory, 'nats.conf')
  const text = await readFile(options.config, 'utf8')
  await writeFile(path, text.replace(/store_dir: ".*"/, `store_dir: ${JSON.stringify(directory)}`))
  return ['-c', path]
}

async function pickedPort(directory: string): Promise<number> {
  for (let attempt = 0; attempt < 500; attempt += 1) {
    const [name] = await readdir(directory)
    const text = name === undefined ? '' : await readFile(join(directory, name), 'utf8')
    const address = /"nats:\/\/([^"]+)"/.exec(text)?.[1]
    if (address !== undefined) return Number(address.split(':').at(-1))
    await sleep(20)
  }
  throw new Error('nats-server did not start')
}

/** Resolves when `condition` holds; throws after `timeoutMs`. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come to hold')
    await sleep(10)
  }
}

/** Resolves when the server knows what was subscribed to over the connection of `bus`. */
export async function settled(bus: Bus): Promise<void> {
  const subject = subjects.command('default', 'nobody', 'settle')
  const request = { subject, args: {}, tenant: 'default', requestId: 'settle', actor: 'test' }
  await bus.client.request(request, 'no_worker').catch(() => {})
}
