import { ending, fileRig, python, sh, success, test } from './rig.ts'

const rig = fileRig()

/** The processes that a command sees, counted by its shell alone, because others may start too late; init is hidden. */
const COUNT = 'set -- /proc/[0-9]*; echo $#'
const NONE_ELSE = success('1\n')

test('a daemon (setsid, double fork, closed stdio) is gone when the run is over', async (t) => {
  await rig().with(async (sandbox) => {
    const daemon = `
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        time.sleep(600)
    os._exit(0)
os.wait()
print("started")
`
    t.deepEqual(ending(await python(sandbox, daemon)), success('started\n'))
    t.deepEqual(ending(await sh(sandbox, COUNT)), NONE_ELSE)
  })
})

test('a descendant that holds stdout open does not hold the run up', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'setsid sleep 600 & echo over')
    t.deepEqual(ending(outcome), success('over\n'))
    t.true(outcome.usage.wall_ms < 2_000, `${outcome.usage.wall_ms} ms`)
    t.deepEqual(ending(await sh(sandbox, COUNT)), NONE_ELSE)
  })
})

test('what descendants wrote before the end of the command is not lost', async (t) => {
  await rig().with(async (sandbox) => {
    const script = 'setsid sh -c "head -c 60000 /dev/zero; sleep 600" & sleep 0.3; printf x'
    t.is((await sh(sandbox, script)).stdout.length, 60_001)
  })
})

test('descendants that ignore signals, and are stopped, end too', async (t) => {
  await rig().with(async (sandbox) => {
    const script = 'sh -c \'trap "" TERM HUP INT; kill -STOP $$; sleep 600\' & sleep 0.1; echo over'
    t.deepEqual(ending(await sh(sandbox, script)), success('over\n'))
    t.deepEqual(ending(await sh(sandbox, COUNT)), NONE_ELSE)
  })
})

test('the end of one command does not touch another', async (t) => {
  await rig().with(async (sandbox) => {
    const long = sh(sandbox, 'sleep 0.5 & wait; echo still here')
    t.deepEqual(ending(await sh(sandbox, 'sleep 600 & true')), success(''))
    t.deepEqual(ending(await long), success('still here\n'))
  })
})
