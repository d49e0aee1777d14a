/** createSandbox, destroySandbox, onLost. */
import { readdirSync, readFileSync } from 'node:fs'
import type { NativeSandboxConfig } from '../../src/sandbox/binding.ts'
import { fileRig, promise, Rig, refusal, SANDBOX, shell, test, text } from './rig.ts'

const rig = fileRig()

test('sandboxes have handles, names and roots of their own', async (t) => {
  const [one, two] = await Promise.all([rig().create({ hostname: 'one' }), rig().create({ hostname: 'two' })])
  t.not(one, two)
  await rig().writeFile(one, '/tmp/mine', Buffer.from('1'))
  t.is(text((await rig().exec(one, shell('cat /proc/sys/kernel/hostname; ls /tmp'))).stdout), 'one\nmine\n')
  t.is(text((await rig().exec(two, shell('cat /proc/sys/kernel/hostname; ls /tmp'))).stdout), 'two\n')
})

test('what cannot be set up is an error that says what', async (t) => {
  const missing = rig().create({ binds: [...SANDBOX.binds, ['/no/such/source', '/x']] })
  const error = await t.throwsAsync(missing)
  t.like(error, { code: 'ENOENT', errno: 2 })
  t.regex(error.message, /^set up a sandbox: .*\/no\/such\/source/)
})

test('destroy ends runs first, and may be repeated', async (t) => {
  const sandbox = await rig().create()
  const run = rig().exec(sandbox, shell('echo begun; sleep 1000'))
  await rig().exec(sandbox, shell('sleep 0.2'))
  const order: string[] = []
  await Promise.all([
    run.then((outcome) => {
      order.push('run')
      t.like(outcome, { cause: 'session_ended', error: 'the sandbox was destroyed', exitCode: -1 })
      t.is(text(outcome.stdout), 'begun\n')
    }),
    rig()
      .destroy(sandbox)
      .then(() => order.push('destroyed')),
  ])
  t.deepEqual(order, ['run', 'destroyed'])
  await rig().destroy(sandbox)
  t.is(await refusal(rig().exec(sandbox, {})), 'ESRCH')
  t.is(await refusal(rig().destroy(123_456_789)), 'ESRCH')
  t.is(rig().lost.length, 0)
})

/** The only init of a rig: a child of one of our threads, in the rig's cgroup. */
function initOf({ name }: Rig): number {
  for (const task of readdirSync('/proc/self/task')) {
    for (const pid of readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean)) {
      if (readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`opensandbox-${name}/`)) return Number(pid)
    }
  }
  throw new Error('no init')
}

test('an init that ends by itself is told once, with its runs', async (t) => {
  const own = new Rig()
  const sandbox = await own.create()
  const run = own.exec(sandbox, shell('sleep 1000'))
  await own.exec(sandbox, shell('sleep 0.1'))
  process.kill(initOf(own), 'SIGKILL')
  const outcome = await run
  t.like(outcome, { cause: 'session_ended', error: 'sandbox lost: init was killed by signal 9' })
  await own.destroy(sandbox)
  t.deepEqual(own.lost, [[sandbox, 'init was killed by signal 9']])
  await own.close()
})

test('a wrong property is a TypeError that names it', (t) => {
  const wrong: [string, Record<string, unknown>][] = [
    ['hostname must be a string without NUL', { hostname: undefined }],
    ['diskBytes must be a number from 0 to 2^53 - 1', { diskBytes: '1' }],
    ['hostNetwork must be a boolean', { hostNetwork: 0 }],
    ['binds must be an array of pairs of strings without NUL', { binds: [['/usr']] }],
    ['files must be an array of pairs', { files: {} }],
  ]
  for (const [message, property] of wrong) {
    const config = { ...SANDBOX, ...property } as NativeSandboxConfig
    t.throws(() => rig().engine.createSandbox(config, () => t.fail()), { instanceOf: TypeError, message })
  }
  t.throws(() => rig().engine.destroySandbox('1' as never, () => t.fail()), { instanceOf: TypeError })
})

test('an exception of a callback is uncaught, and the next callback is called', async (t) => {
  const sandbox = await rig().create()
  const uncaught = new Promise((resolve) => process.prependOnceListener('uncaughtException', resolve))
  const listeners = process.listeners('uncaughtException').slice(1)
  for (const listener of listeners) process.off('uncaughtException', listener)
  const next = promise<undefined>((done) => {
    rig().engine.checkDirectory(sandbox, '/', () => {
      throw new Error('of the caller')
    })
    rig().engine.checkDirectory(sandbox, '/', done)
  })
  t.is(((await uncaught) as Error).message, 'of the caller')
  for (const listener of listeners) process.on('uncaughtException', listener)
  t.is(await next, undefined)
})
