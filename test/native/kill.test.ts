import type { KillCause, NativeOutcome } from '../../src/sandbox/binding.ts'
import { EXEC, fileRig, promise, shell, test } from './rig.ts'

const rig = fileRig()

test('ends the run and its descendants with the cause', async (t) => {
  const sandbox = await rig().create()
  for (const cause of ['cancelled', 'session_ended'] as const) {
    const outcome = await promise<NativeOutcome>((done) => {
      const script = 'setsid sleep 1000 & sleep 1000'
      const run = rig().engine.exec(sandbox, { ...EXEC, ...shell(script) }, done)
      setTimeout(() => rig().engine.kill(sandbox, run, cause), 50)
    })
    t.like(outcome, { cause, leftover: 0 })
  }
  const left = await rig().exec(sandbox, shell('cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep'))
  t.is(left.exitCode, 1)
})

test('a run that is over, or never was, is left alone', async (t) => {
  const sandbox = await rig().create()
  await rig().exec(sandbox, {})
  rig().engine.kill(sandbox, 1, 'cancelled')
  rig().engine.kill(sandbox, 1_000_000, 'cancelled')
  rig().engine.kill(7, 1, 'cancelled')
  t.is((await rig().exec(sandbox, {})).cause, 'exited')
})

test('another cause is a TypeError', async (t) => {
  const sandbox = await rig().create()
  t.throws(() => rig().engine.kill(sandbox, 1, 'exited' as KillCause), {
    instanceOf: TypeError,
    message: "cause must be 'cancelled' or 'session_ended'",
  })
})
