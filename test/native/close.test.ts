/** Engine, close, and the end of an environment. */
import { execFile, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/config/package-root.ts'
import { loadNative } from '../../src/sandbox/binding.ts'
import { EXEC, Rig, refusal, SANDBOX, shell, test } from './rig.ts'

const run = promisify(execFile)

/** Other engines' directories come and go meanwhile, which find calls a failure. */
const cgroupsOf = (name: string): string =>
  spawnSync('find', ['/sys/fs/cgroup', '-name', `opensandbox-${name}`], { encoding: 'utf8' }).stdout

const threads = () => readdirSync('/proc/self/task').length

test.serial('close ends what is under way and leaves nothing', async (t) => {
  const before = threads()
  const rig = new Rig()
  const sandbox = await rig.create()
  const long = rig.exec(sandbox, shell('setsid sleep 1000 & sleep 1000'))
  t.not(cgroupsOf(rig.name), '')
  await rig.close()
  t.like(await long, { cause: 'session_ended', error: 'the engine closes' })
  t.is(cgroupsOf(rig.name), '')
  for (let tries = 0; tries < 200 && threads() !== before; tries++) await setTimeout(5)
  t.is(threads(), before)
  t.is(rig.lost.length, 0)
})

test.serial('a closed engine refuses what is new, and is closed twice without harm', async (t) => {
  const rig = new Rig()
  const sandbox = await rig.create()
  const closing = rig.close()
  t.is(await refusal(rig.close()), 'EALREADY')
  await closing
  t.is(await refusal(rig.create()), 'ESHUTDOWN')
  t.is(await refusal(rig.exec(sandbox, {})), 'ESHUTDOWN')
  t.is(await refusal(rig.readFile(sandbox, '/etc/motd')), 'ESHUTDOWN')
  rig.engine.kill(sandbox, 1, 'cancelled')
  await rig.destroy(sandbox)
  await rig.close()
})

test.serial('two engines of one name', async (t) => {
  const { Engine } = loadNative()
  const rig = new Rig()
  t.throws(() => new Engine(rig.name, () => {}), { code: 'EBUSY' })
  t.throws(() => new Engine('a b', () => {}), { code: 'EINVAL' })
  t.throws(() => new Engine(1 as never, () => {}), { instanceOf: TypeError, message: /^name must be/ })
  t.throws(() => new Engine('x', 1 as never), { instanceOf: TypeError, message: 'done must be a function' })
  await rig.close()
  await new Rig().close()
})

/** Runs a program with `engine`, `sandbox` and `exec(script, done)` in a process of its own. */
function program(name: string, source: string): Promise<{ stdout: string }> {
  const prelude = `
    const { Engine } = require('node-gyp-build')(${JSON.stringify(packageRoot)})
    const engine = new Engine(${JSON.stringify(name)}, () => {})
    const config = ${JSON.stringify(SANDBOX)}
    const exec = (sandbox, script, done) => engine.exec(sandbox,
      { ...${JSON.stringify(EXEC)}, stdin: new Uint8Array(0), argv: ['/bin/sh', '-c', script] }, done)
    const create = (use) => engine.createSandbox(config, (error, sandbox) => { if (error) throw error; use(sandbox) })
  `
  return run(process.execPath, ['-e', prelude + source], { cwd: join(packageRoot), timeout: 30_000 })
}

test.serial('a process waits for what is under way, but not for an idle engine', async (t) => {
  const name = `test-native-${process.pid}-idle`
  const { stdout } = await program(
    name,
    `create((sandbox) => exec(sandbox, 'sleep 0.3; echo over', (error, outcome) =>
       process.stdout.write(outcome.stdout)))`,
  )
  t.is(stdout, 'over\n')
  t.is(cgroupsOf(name), '')
})

test.serial('what a process leaves that exits in the middle, the next engine removes', async (t) => {
  const name = `test-native-${process.pid}-exit`
  await program(
    name,
    `create((sandbox) => {
       exec(sandbox, 'setsid sleep 1000 & sleep 1000', () => {})
       create(() => {})
       setTimeout(() => process.exit(0), 200)
     })`,
  )
  for (let tries = 0; tries < 50 && cgroupsOf(name) !== ''; tries++) await new Rig().close()
  t.is(cgroupsOf(name), '')
})

test.serial('a worker thread has an engine of its own, which ends with it', async (t) => {
  const name = `test-native-${process.pid}-thread`
  const { stdout } = await program(
    `${name}-main`,
    `const { Worker } = require('node:worker_threads')
     const worker = new Worker(\`
       const { Engine } = require('node-gyp-build')(${JSON.stringify(packageRoot)})
       const engine = new Engine('${name}', () => {})
       engine.createSandbox(JSON.parse(\${JSON.stringify(JSON.stringify(config))}), (error, sandbox) => {
         require('node:worker_threads').parentPort.postMessage(String(error ?? 'made'))
       })\`, { eval: true })
     worker.once('message', (message) => { console.log(message); worker.terminate() })`,
  )
  t.is(stdout, 'made\n')
  t.is(cgroupsOf(name), '')
  t.is(cgroupsOf(`${name}-main`), '')
})
