import { randomBytes } from 'node:crypto'
import { ending, fileRig, python, run, sh, success, test, text } from './rig.ts'

const rig = fileRig()

test('output, exit code, usage', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await sh(sandbox, 'echo out; echo err >&2; exit 3')
    t.deepEqual(ending(outcome), {
      cause: 'exited',
      exitCode: 3,
      signal: null,
      error: null,
      stdout: 'out\n',
      stderr: 'err\n',
    })
    t.false(outcome.stdoutTruncated || outcome.stderrTruncated)
    const { cpu_ms, wall_ms, memory_peak_kb } = outcome.usage
    t.true(cpu_ms > 0 && cpu_ms < 1_000, `${cpu_ms} ms CPU`)
    t.true(wall_ms > 0 && wall_ms < 5_000, `${wall_ms} ms`)
    t.true(memory_peak_kb > 0 && memory_peak_kb < 65_536, `${memory_peak_kb} KB`)
  })
})

test('a command that dies of a signal', async (t) => {
  await rig().with(async (sandbox) => {
    const signaled = { cause: 'signaled', exitCode: null, error: null, stdout: '', stderr: '' }
    t.deepEqual(ending(await sh(sandbox, 'kill -SEGV $$')), { ...signaled, signal: 11 })
    t.deepEqual(ending(await sh(sandbox, 'kill -TERM $$')), { ...signaled, signal: 15 })
    t.deepEqual(ending(await sh(sandbox, 'kill -KILL $$')), { ...signaled, signal: 9 })
  })
})

test('default signal actions hold: the command is not PID 1', async (t) => {
  await rig().with(async (sandbox) => {
    const outcome = await python(
      sandbox,
      'import os, signal; print(os.getpid() > 1); os.kill(os.getpid(), signal.SIGINT)',
    )
    t.is(text(outcome.stdout), 'True\n')
    t.is(outcome.cause, 'signaled')
    t.is(outcome.signal, 2)
  })
})

test('commands that cannot be executed', async (t) => {
  await rig().with(async (sandbox) => {
    await sandbox.writeFile('/tmp/plain', Buffer.from('no program'))
    await sandbox.writeFile('/tmp/script', Buffer.from('#!/no/such/interpreter\n'))
    await sandbox.writeFile('/tmp/garbage', Buffer.from([0, 1, 2, 3]))
    await sh(sandbox, 'chmod +x /tmp/script /tmp/garbage')
    const failed = { cause: 'exec_failed', signal: null, stdout: '', stderr: '' }
    const cases: [string, number, string][] = [
      ['no-such-command', 127, 'command not found: no-such-command'],
      ['/no/such/command', 127, 'command not found: /no/such/command'],
      ['', 127, 'command not found: '],
      ['/tmp/plain', 126, 'not executable: /tmp/plain'],
      ['/etc/passwd', 126, 'not executable: /etc/passwd'],
      ['/tmp', 126, 'not executable: /tmp'],
      ['/etc/passwd/x', 126, 'a part of the path is not a directory: /etc/passwd/x'],
      ['/tmp/script', 126, 'its interpreter does not exist: /tmp/script'],
      [
        '/tmp/garbage',
        126,
        'not a program: it is neither a binary of this machine nor a script that begins with #!: /tmp/garbage',
      ],
    ]
    for (const [command, exitCode, error] of cases) {
      t.deepEqual(ending(await run(sandbox, [command])), { ...failed, exitCode, error })
    }
  })
})

test('cwd', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(ending(await run(sandbox, ['pwd'])), success('/\n'))
    t.deepEqual(ending(await run(sandbox, ['pwd'], { cwd: '/usr/bin' })), success('/usr/bin\n'))
    const failed = { cause: 'exec_failed', exitCode: 126, signal: null, stdout: '', stderr: '' }
    t.deepEqual(ending(await run(sandbox, ['pwd'], { cwd: '/none' })), {
      ...failed,
      error: 'cwd does not exist: /none',
    })
    t.deepEqual(ending(await run(sandbox, ['pwd'], { cwd: '/etc/passwd' })), {
      ...failed,
      error: 'cwd is not a directory: /etc/passwd',
    })
  })
})

test('the environment is the given one, with PATH and HOME where they are missing, nothing twice', async (t) => {
  await rig().with(async (sandbox) => {
    const environment = async (env: Record<string, string>) =>
      text((await run(sandbox, ['/usr/bin/env', '-0'], { env })).stdout)
        .split('\0')
        .filter(Boolean)
        .sort()
    const [home, path, ...rest] = await environment({})
    t.is(home, 'HOME=/root')
    t.regex(path ?? '', /^PATH=\/usr\/local\/sbin:\/usr\/local\/bin:\/usr\/sbin:\/usr\/bin:\/sbin:\/bin/)
    t.deepEqual(rest, [])
    t.deepEqual(await environment({ PATH: '/bin', HOME: '/h', A: 'x=y\n', EMPTY: '', Ü: 'ß' }), [
      'A=x=y\n',
      'EMPTY=',
      'HOME=/h',
      'PATH=/bin',
      'Ü=ß',
    ])
  })
})

test('a command without a slash is looked for in the PATH of its own environment', async (t) => {
  await rig().with(async (sandbox) => {
    await sandbox.writeFile('/tools/hello', Buffer.from('#!/bin/sh\necho hello\n'))
    await sh(sandbox, 'chmod +x /tools/hello')
    t.deepEqual(ending(await run(sandbox, ['hello'], { env: { PATH: '/none:/tools' } })), success('hello\n'))
    t.is((await run(sandbox, ['hello'])).exitCode, 127)
  })
})

test('stdin: empty by default, exact, and a command that does not read it is not disturbed', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(ending(await run(sandbox, ['cat'])), success(''))
    t.deepEqual(ending(await run(sandbox, ['cat'], { stdin: 'a\nb' })), success('a\nb'))
    t.deepEqual(ending(await run(sandbox, ['true'], { stdin: randomBytes(1_000_000) })), success(''))
  })
})

test('1 MB of any bytes comes back exactly, through stdin, stdout and stderr', async (t) => {
  await rig().with(async (sandbox) => {
    const bytes = randomBytes(1_048_577)
    const outcome = await sh(sandbox, 'tee /dev/stderr', { stdin: bytes })
    t.is(outcome.cause, 'exited')
    t.true(bytes.equals(outcome.stdout))
    t.true(bytes.equals(outcome.stderr))
  })
})

test('arguments and environment of 300 KB', async (t) => {
  await rig().with(async (sandbox) => {
    const argv = Array.from({ length: 3 }, (_, i) => String(i).repeat(100_000))
    const program =
      'import os, sys; print([len(a) for a in sys.argv[1:]], sys.argv[3][0], len(os.environ["BIG"]))'
    const outcome = await run(sandbox, ['/usr/bin/python3', '-c', program, ...argv], {
      env: { BIG: 'e'.repeat(100_000) },
    })
    t.deepEqual(ending(outcome), success('[100000, 100000, 100000] 2 100000\n'))
    const many = Array.from({ length: 10_000 }, () => 'x'.repeat(30))
    t.deepEqual(ending(await run(sandbox, ['/bin/sh', '-c', 'echo $#', 'sh', ...many])), success('10000\n'))
    const empty = await run(sandbox, ['/usr/bin/printf', '[%s]', 'a', '', 'ü\n', ''])
    t.deepEqual(ending(empty), success('[a][][ü\n][]'))
  })
})

test('an argument longer than the kernel takes is a result that says so', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(ending(await run(sandbox, ['/bin/true', 'x'.repeat(131_072)])), {
      cause: 'exec_failed',
      exitCode: 126,
      signal: null,
      error: 'arguments and environment are too long: /bin/true',
      stdout: '',
      stderr: '',
    })
  })
})

test('20 commands at once in one sandbox, each with its own output and exit code', async (t) => {
  await rig().with(async (sandbox) => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => sh(sandbox, `cat; sleep 0.2; exit ${i}`, { stdin: `in ${i}` })),
    )
    t.deepEqual(
      outcomes.map(({ exitCode, stdout }) => [exitCode, text(stdout)]),
      Array.from({ length: 20 }, (_, i) => [i, `in ${i}`]),
    )
  })
})

test('files stay from one command to the next; processes do not', async (t) => {
  await rig().with(async (sandbox) => {
    await sh(sandbox, 'echo kept > /root/file; sleep 600 & disown 2>/dev/null; true')
    t.deepEqual(ending(await sh(sandbox, 'cat ~/file; set -- /proc/[0-9]*; echo $#')), success('kept\n1\n'))
  })
})

test('an abort ends the command with its reason as the cause', async (t) => {
  await rig().with(async (sandbox) => {
    for (const cause of ['cancelled', 'session_ended'] as const) {
      const controller = new AbortController()
      setTimeout(() => controller.abort(cause), 100)
      const outcome = await sh(sandbox, 'echo before; sleep 600 & sleep 600', { signal: controller.signal })
      t.deepEqual(
        { cause: outcome.cause, exitCode: outcome.exitCode, stdout: text(outcome.stdout) },
        { cause, exitCode: null, stdout: 'before\n' },
      )
    }
    const aborted = AbortSignal.abort('cancelled')
    t.is((await sh(sandbox, 'touch /tmp/ran', { signal: aborted })).cause, 'cancelled')
    t.deepEqual(await sandbox.listFiles('/tmp'), [])
  })
})
