import { leftovers, snapshotHost } from '../helpers/host-snapshot.ts'
import { ending, Rig, run, sh, success, test, throwsCode } from './rig.ts'

test('nothing is left on the host: not by use, not by destroy under way, not by close', async (t) => {
  const rig = new Rig({ poolSize: 3 })
  const before = snapshotHost([rig.name])
  await rig.provider.start()
  t.is(rig.provider.readyCount, 3)
  const used = await rig.sandbox()
  await sh(used, 'setsid sleep 600 & echo x > /tmp/x')
  await used.destroy()
  await rig.sandbox()
  const busy = await rig.sandbox()
  const running = sh(busy, 'sleep 600')
  await rig.close()
  t.is((await running).cause, 'session_ended')
  t.deepEqual(await leftovers(before), [])
  t.deepEqual(rig.warnings, [])
})

test('destroy ends what runs, with its cause, and can be asked for twice', async (t) => {
  const rig = new Rig()
  const sandbox = await rig.sandbox()
  const before = snapshotHost([rig.name])
  const runs = [sh(sandbox, 'sleep 600'), sh(sandbox, 'trap "" TERM; sleep 600 & wait')]
  await sh(sandbox, 'true')
  const destroyed = sandbox.destroy()
  t.is(sandbox.destroy(), destroyed)
  await destroyed
  t.deepEqual(
    (await Promise.all(runs)).map(({ cause, exitCode }) => [cause, exitCode]),
    [
      ['session_ended', null],
      ['session_ended', null],
    ],
  )
  await t.throwsAsync(run(sandbox, ['true']))
  await t.throwsAsync(sandbox.readFile('/etc/passwd'))
  t.deepEqual(await leftovers(before), [])
  await rig.close()
})

test('50 sandboxes at once, each its own', async (t) => {
  const rig = new Rig({ poolSize: 4 })
  await rig.provider.start()
  const sandboxes = await Promise.all(Array.from({ length: 50 }, () => rig.sandbox()))
  t.is(new Set(sandboxes.map(({ id }) => id)).size, 50)
  const outcomes = await Promise.all(
    sandboxes.map(async (sandbox, i) => {
      await sandbox.writeFile('/tmp/number', Buffer.from(`${i}\n`))
      return ending(await sh(sandbox, 'cat /tmp/number; ls /tmp'))
    }),
  )
  t.deepEqual(
    outcomes,
    sandboxes.map((_, i) => success(`${i}\nnumber\n`)),
  )
  await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()))
  await rig.close()
})

test('a sandbox whose init ends by itself is lost: it says so, and every method does', async (t) => {
  const rig = new Rig()
  const sandbox = await rig.sandbox()
  const [init] = snapshotHost([rig.name]).processes
  t.truthy(init)
  const running = sh(sandbox, 'sleep 600')
  process.kill(Number(init?.split(' ')[0]), 'SIGKILL')
  t.is(typeof (await sandbox.lost), 'string')
  const ended = await running.then(
    ({ cause }) => cause,
    (error) => error.code,
  )
  t.true(ended === 'session_lost' || ended === 'session_ended', ended)
  await throwsCode(t, run(sandbox, ['true']), 'session_lost')
  await throwsCode(t, sandbox.readFile('/etc/passwd'), 'session_lost')
  await throwsCode(t, sandbox.writeFile('/x', Buffer.from('x')), 'session_lost')
  await throwsCode(t, sandbox.listFiles('/'), 'session_lost')
  await throwsCode(t, sandbox.checkDirectory('/'), 'session_lost')
  await sandbox.destroy()
  await rig.close()
})

test('a pooled sandbox that died is not handed out', async (t) => {
  const rig = new Rig({ poolSize: 2 })
  await rig.provider.start()
  for (const init of snapshotHost([rig.name]).processes) process.kill(Number(init.split(' ')[0]), 'SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 100))
  const sandbox = await rig.sandbox()
  t.deepEqual(ending(await sh(sandbox, 'echo fresh')), success('fresh\n'))
  await rig.close()
})

test('network: host shares the host’s interfaces', async (t) => {
  const rig = new Rig()
  const sandbox = await rig.provider.acquire({ network: 'host' })
  const { readFileSync } = await import('node:fs')
  const names = (content: string) =>
    content
      .split('\n')
      .slice(2)
      .map((line) => line.split(':')[0]?.trim())
      .sort()
  const inside = Buffer.from((await run(sandbox, ['cat', '/proc/net/dev'])).stdout).toString()
  t.deepEqual(names(inside), names(readFileSync('/proc/net/dev', 'utf8')))
  await rig.close()
})
