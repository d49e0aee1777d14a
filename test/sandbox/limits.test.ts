/** Every limit, each with its own cause. Serial: several of these use all the processor time there is. */
import { ending, fileRig, python, run, sh, success, test, text } from './rig.ts'

const rig = fileRig()
const killed = { exitCode: null, signal: 9, error: null, stdout: '', stderr: '' }

test.serial('CPU time is that of all processes of the command together', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'while :; do :; done & while :; do :; done', {
      time: 400,
      wall: 20_000,
    })
    t.deepEqual(ending(outcome), { ...killed, cause: 'cpu_limit' })
    t.true(outcome.usage.cpu_ms >= 400 && outcome.usage.cpu_ms < 600, `${outcome.usage.cpu_ms} ms`)
  })
})

test.serial('CPU time of children that are gone counts too', async (t) => {
  await rig().with(async (sandbox) => {
    const burn = 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'
    const outcome = await sh(sandbox, `while :; do (${burn}); done`, { time: 300, wall: 20_000 })
    t.is(outcome.cause, 'cpu_limit')
    t.true(outcome.usage.cpu_ms < 600, `${outcome.usage.cpu_ms} ms`)
  })
})

test.serial('wall time ends what sleeps', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'echo asleep; sleep 600', { wall: 300 })
    t.deepEqual(ending(outcome), { ...killed, cause: 'wall_limit', stdout: 'asleep\n' })
    t.true(outcome.usage.wall_ms >= 300 && outcome.usage.wall_ms < 1_500, `${outcome.usage.wall_ms} ms`)
    t.true(outcome.usage.cpu_ms < 200)
  })
})

test.serial('wall time ends a command that ignores signals', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'trap "" INT TERM HUP; while :; do sleep 600; done', { wall: 300 })
    t.is(outcome.cause, 'wall_limit')
  })
})

test.serial('memory that is used, not address space', async (t) => {
  await rig().with(async (sandbox) => {
    const hog = await python(sandbox, 'b = bytearray(512 << 20); print("not reached")', { mem: 65_536 })
    t.deepEqual({ ...ending(hog), stderr: '' }, { ...killed, cause: 'memory_limit' })
    t.true(
      hog.usage.memory_peak_kb > 32_768 && hog.usage.memory_peak_kb <= 65_536,
      `${hog.usage.memory_peak_kb} KB`,
    )
    const reserve = 'import mmap; m = mmap.mmap(-1, 4 << 30); print(len(m) >> 30)'
    t.deepEqual(ending(await python(sandbox, reserve, { mem: 65_536 })), success('4\n'))
  })
})

test.serial('memory of a child counts, and the whole command ends with it', async (t) => {
  await rig().with(async (sandbox) => {
    const script = "python3 -c 'b = bytearray(512 << 20)'; sleep 600"
    const outcome = await sh(sandbox, script, { mem: 65_536 })
    t.is(outcome.cause, 'memory_limit')
    // On cgroup v1 the kernel ends the child alone, and init the rest a moment later.
    t.true(outcome.usage.wall_ms < 5_000, `${outcome.usage.wall_ms} ms`)
  })
})

test.serial('files of a tmpfs count as the memory of the command that writes them', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'head -c 200000000 /dev/zero > /tmp/big', {
      mem: 32_768,
      fsize: 1_000_000,
    })
    t.is(outcome.cause, 'memory_limit')
  })
})

test.serial('a fork bomb hits the bound on processes, ends, and disturbs no other command', async (t) => {
  await rig().with(async (sandbox) => {
    const bomb = sh(sandbox, 'bomb() { bomb | bomb & }; bomb; sleep 600', {
      pids: 30,
      wall: 1_500,
      time: 20_000,
    })
    const other = await sh(sandbox, 'for i in 1 2 3; do sleep 0.1; echo $i | cat; done')
    t.deepEqual(ending(other), success('1\n2\n3\n'))
    t.is((await bomb).cause, 'wall_limit')
    t.deepEqual(ending(await sh(sandbox, 'set -- /proc/[0-9]*; echo $#')), success('1\n'))
  })
})

test.serial('the bound on processes is exact: that many and no more', async (t) => {
  await rig().with(async (sandbox) => {
    const program = `
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
        children += 1
except BlockingIOError as error:
    print(children, error.errno)
`
    t.deepEqual(ending(await python(sandbox, program, { pids: 10 })), success('9 11\n'))
  })
})

test.serial('a file larger than allowed: SIGXFSZ', async (t) => {
  await rig().with(async (sandbox) => {
    const write = 'exec head -c 2000000 /dev/zero'
    const outcome = await sh(sandbox, `${write} > /tmp/big`, { fsize: 1_024 })
    t.deepEqual(
      { cause: outcome.cause, exitCode: outcome.exitCode, signal: outcome.signal },
      { cause: 'output_limit', exitCode: null, signal: 25 },
    )
    t.is((await sandbox.readFile('/tmp/big')).length, 1_048_576)
    t.is((await sh(sandbox, `${write} > /tmp/big`, { fsize: 2_000 })).exitCode, 0)
  })
})

test.serial('open files: EMFILE inside', async (t) => {
  await rig().with(async (sandbox) => {
    const program = `
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as error:
    print(error.errno, files[-1].fileno())
`
    t.deepEqual(ending(await python(sandbox, program, { nofile: 40 })), success('24 39\n'))
  })
})

test.serial('output beyond the limit is dropped and flagged, and the command goes on', async (t) => {
  await rig().with(async (sandbox) => {
    const script = 'head -c 30000000 /dev/zero; echo done >&2; exit 5'
    const outcome = await sh(sandbox, script)
    t.is(outcome.stdout.length, 10_485_760)
    t.true(outcome.stdoutTruncated)
    t.false(outcome.stderrTruncated)
    t.is(outcome.cause, 'exited')
    t.is(outcome.exitCode, 5)
    t.is(text(outcome.stderr), 'done\n')
  })
})

test.serial('an output limit of its own, for each stream, 0 included', async (t) => {
  await rig().with(async (sandbox) => {
    const script = 'printf 12345; printf 1234567 >&2'
    const five = await sh(sandbox, script, { output_limit: 5 })
    t.deepEqual(ending(five), { ...success('12345'), stderr: '12345' })
    t.false(five.stdoutTruncated)
    t.true(five.stderrTruncated)
    const none = await sh(sandbox, script, { output_limit: 0 })
    t.deepEqual(ending(none), success(''))
    t.true(none.stdoutTruncated && none.stderrTruncated)
  })
})

test.serial('the disk of a sandbox is bounded in bytes and in files', async (t) => {
  const small = smallRig()
  const sandbox = await small.sandbox()
  try {
    const fill = await sh(sandbox, 'head -c 20000000 /dev/zero > /tmp/big', { fsize: 100_000 })
    t.is(fill.exitCode, 1)
    t.regex(text(fill.stderr), /No space left on device/)
    await sh(sandbox, 'rm /tmp/big')
    const inodes = await python(sandbox, 'for i in range(5000): open(f"/tmp/{i}", "w").close()')
    t.is(inodes.exitCode, 1)
    t.regex(text(inodes.stderr), /Errno 28/)
  } finally {
    await sandbox.destroy()
  }
})

const smallRig = fileRig({ diskBytes: 8 * 1024 * 1024, diskInodes: 1_000 })

test.serial('a run within every limit is not disturbed by tight ones', async (t) => {
  await rig().with(async (sandbox) => {
    const tight = { time: 1_000, wall: 5_000, mem: 16_384, fsize: 0, nofile: 8, pids: 2, output_limit: 10 }
    t.deepEqual(ending(await run(sandbox, ['/bin/echo', 'ok'], tight)), success('ok\n'))
  })
})
