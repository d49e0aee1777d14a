import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { connect } from 'nats'
import type { SandboxError } from '../../proto/errors.ts'
import { openBus } from '../../src/bus/bus.ts'
import { type PrivateServer, privateServerUrl, startPrivateServer } from '../../src/bus/private-server.ts'
import { silent, until } from './nats-fixture.ts'

const searchPath = '/usr/sbin'

async function stateDirectory(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'osb-private-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function serverPid(stateDir: string): Promise<number> {
  return Number(await readFile(join(stateDir, 'nats/nats.pid'), 'utf8'))
}

/** Not there any more, or dead and not yet waited for by whoever inherited it. */
async function isGone(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z')
  return text.slice(text.lastIndexOf(')') + 2).startsWith('Z')
}

async function start(t: ExecutionContext, stateDir: string): Promise<PrivateServer> {
  const server = await startPrivateServer({ stateDir, searchPath, log: silent })
  t.teardown(() => server.stop())
  return server
}

test('it serves on loopback, to those who know the password, and leaves only the stream', async (t) => {
  const stateDir = await stateDirectory(t)
  const server = await start(t, stateDir)
  t.regex(server.url, /^nats:\/\/opensandbox:[\w-]{32}@127\.0\.0\.1:\d+$/)
  t.regex(server.version, /^\d+\.\d+/)
  t.is(await privateServerUrl(stateDir), server.url)
  t.is((await stat(join(stateDir, 'nats.json'))).mode & 0o777, 0o600)
  t.is((await stat(join(stateDir, 'nats/nats.conf'))).mode & 0o777, 0o600)
  t.is((await stat(join(stateDir, 'nats'))).mode & 0o777, 0o700)

  const bus = await openBus({ url: server.url, name: 'test', log: silent })
  await bus.events.ensureStream()
  await bus.close()
  const { host } = new URL(server.url)
  await t.throwsAsync(connect({ servers: host }), { message: /Authorization Violation/ })

  const pid = await serverPid(stateDir)
  await server.stop()
  t.true(await isGone(pid))
  t.deepEqual(await readdir(stateDir), ['nats'])
  t.deepEqual(await readdir(join(stateDir, 'nats')), ['jetstream'])
  t.is(await privateServerUrl(stateDir), undefined)
})

test('killed, it comes back on the same address with the same credentials', async (t) => {
  const stateDir = await stateDirectory(t)
  const server = await start(t, stateDir)
  const { url } = server
  const bus = await openBus({ url, name: 'test', log: silent })
  const pid = await serverPid(stateDir)
  process.kill(pid, 'SIGKILL')
  await until(() => !bus.connected())
  await until(() => bus.connected())
  t.is(server.url, url)
  t.not(await serverPid(stateDir), pid)
  await bus.close()
})

test('a state directory has one owner at a time', async (t) => {
  const stateDir = await stateDirectory(t)
  const server = await start(t, stateDir)
  const error = await t.throwsAsync<SandboxError>(startPrivateServer({ stateDir, searchPath, log: silent }))
  t.true(error?.message.startsWith(`${stateDir} is in use by process ${process.pid}`))
  await (await connect(optionsOf(server.url))).close()
})

function optionsOf(url: string) {
  const { host, username, password } = new URL(url)
  return { servers: host, user: username, pass: password }
}

const OWNER = `
import { startPrivateServer } from ${JSON.stringify(import.meta.resolve('../../src/bus/private-server.js'))}
const log = { debug() {}, info() {}, warn() {}, error() {} }
await startPrivateServer({ stateDir: process.argv[1], searchPath: '/usr/sbin', log })
console.log('ready')
setInterval(() => {}, 1000)
`

async function startOwner(stateDir: string) {
  const owner = spawn(process.execPath, ['--input-type=module', '-e', OWNER, stateDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(owner.stdout, 'data')
  return owner
}

test('when its owner is killed, it ends too', async (t) => {
  const stateDir = await stateDirectory(t)
  const owner = await startOwner(stateDir)
  const pid = await serverPid(stateDir)
  t.false(await isGone(pid))
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  await until(() => isGone(pid))
  const server = await start(t, stateDir)
  await (await connect(optionsOf(server.url))).close()
})

test('one that was left behind all the same is ended at the next start', async (t) => {
  const stateDir = await stateDirectory(t)
  const owner = await startOwner(stateDir)
  const pid = await serverPid(stateDir)
  const shell = Number((await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[1])
  const watcher = (await childrenOf(shell)).filter((child) => child !== pid)
  owner.kill('SIGSTOP')
  for (const supervisor of [...watcher, shell]) process.kill(supervisor, 'SIGKILL')
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  t.false(await isGone(pid))
  const server = await start(t, stateDir)
  t.true(await isGone(pid))
  await (await connect(optionsOf(server.url))).close()
})

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.trim().split(' ').map(Number)
}

test('a server that cannot start says why', async (t) => {
  const stateDir = await stateDirectory(t)
  await writeFile(
    join(stateDir, 'broken'),
    '#!/bin/sh\n[ "$1" = --version ] && echo nats-server: v2.10.1 && exit\necho "[1] [FTL] no such luck" >&2\nexit 3\n',
  )
  await chmod(join(stateDir, 'broken'), 0o755)
  const error = await t.throwsAsync<SandboxError>(
    startPrivateServer({ stateDir, searchPath, binary: join(stateDir, 'broken'), log: silent }),
  )
  t.is(error?.code, 'bus_unavailable')
  t.is(error?.message, 'nats-server ended at once: no such luck')
})

test('one that is missing, too old, or something else is refused with the remedy', async (t) => {
  const stateDir = await stateDirectory(t)
  const given = async (script: string) => {
    const binary = join(stateDir, 'given')
    await writeFile(binary, `#!/bin/sh\n${script}\n`)
    await chmod(binary, 0o755)
    return t.throwsAsync<SandboxError>(startPrivateServer({ stateDir, searchPath, binary, log: silent }))
  }
  const remedy = 'install it (`apt-get install nats-server`), name it by NATS_SERVER_BIN, or set NATS_URL.'
  const path = join(stateDir, 'given')
  t.is(
    (await given('echo nats-server: v2.8.4'))?.message,
    `${path} is version 2.8.4; 2.9 or newer is needed: ${remedy}`,
  )
  t.is((await given('echo hello'))?.message, `${path} is not a nats-server: it answers hello`)
  const missing = await t.throwsAsync<SandboxError>(
    startPrivateServer({ stateDir, searchPath, binary: '/nowhere/nats-server', log: silent }),
  )
  t.is(missing?.message, `nats-server is not at /nowhere/nats-server: ${remedy}`)
})
