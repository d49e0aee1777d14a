import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/config/package-root.ts'
import { CliProcess, runCli } from '../helpers/cli-process.ts'
import { leftovers, snapshotHost } from '../helpers/host-snapshot.ts'
import { privileged } from '../helpers/privileged.ts'

const GONE_TIMEOUT_MS = 5_000

interface Expected {
  code: number
  stdout?: string
  stderr?: string
}

const CASES: [title: string, args: string[], expected: Expected, stdin?: string][] = [
  ['output and exit code 0', ['--run', '--', '/bin/echo', 'hello'], { code: 0, stdout: 'hello\n' }],
  ['run is the same as --run', ['run', '--', '/bin/echo', 'hello'], { code: 0, stdout: 'hello\n' }],
  [
    'flags before and after --run',
    ['--time', '1000', '--run', '--mem', '262144', '--', '/bin/echo', '--run'],
    { code: 0, stdout: '--run\n' },
  ],
  ['a command without --', ['run', 'echo', '-n', 'x'], { code: 0, stdout: 'x' }],
  [
    'stderr and the exit code of the command',
    ['run', '--', 'sh', '-c', 'echo out; echo err >&2; exit 42'],
    { code: 42, stdout: 'out\n', stderr: 'err\n' },
  ],
  ['128 and the signal', ['run', '--', 'sh', '-c', 'kill -TERM $$'], { code: 143 }],
  ['stdin that is piped', ['run', '--', 'tr', 'a-z', 'A-Z'], { code: 0, stdout: 'PIPED' }, 'piped'],
  ['stdin that is not', ['run', '--', 'wc', '-c'], { code: 0, stdout: '0\n' }],
  [
    'environment and directory',
    ['run', '--env', 'NAME=a=b', '--cwd', '/tmp', '--', 'sh', '-c', 'echo $NAME; pwd'],
    { code: 0, stdout: 'a=b\n/tmp\n' },
  ],
  [
    'a command that does not exist',
    ['run', '--', '/nonexistent'],
    { code: 127, stderr: 'opensandbox: cannot be executed: ' },
  ],
  [
    'the CPU time limit',
    ['run', '--time', '200', '--', 'sh', '-c', 'while :; do :; done'],
    { code: 137, stderr: 'opensandbox: ended by the CPU time limit (--time 200 ms)' },
  ],
  [
    'the wall time limit',
    ['run', '--wall', '300', '--', 'sleep', '60'],
    { code: 137, stderr: 'opensandbox: ended by the wall time limit (--wall 300 ms)' },
  ],
  [
    'the memory limit',
    ['run', '--mem', '32768', '--', 'sh', '-c', 'x=a; while :; do x=$x$x; done'],
    { code: 137, stderr: 'opensandbox: ended by the memory limit (--mem 32768 KB)' },
  ],
  [
    'the file size limit',
    ['run', '--fsize', '10', '--', 'dd', 'if=/dev/zero', 'of=/tmp/x', 'bs=1024', 'count=20'],
    { code: 153, stderr: 'opensandbox: ended by the file size limit (--fsize 10 KB)' },
  ],
  [
    'output beyond the limit',
    ['run', '--output-limit', '5', '--', 'printf', '1234567890'],
    { code: 0, stdout: '12345', stderr: 'opensandbox: stdout is cut after 5 bytes (--output-limit)\n' },
  ],
]

for (const [title, args, { code, stdout = '', stderr = '' }, stdin] of CASES) {
  privileged(title, async (t) => {
    const finished = await runCli(args, stdin === undefined ? {} : { stdin })
    t.is(finished.stdout.toString(), stdout)
    if (stderr.startsWith('opensandbox:')) t.is(finished.stderr.slice(0, stderr.length), stderr)
    else t.is(finished.stderr, stderr)
    t.is(finished.code, code)
  })
}

privileged('every byte goes through, in and out', async (t) => {
  const bytes = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7) & 0xff)
  const { stdout, code } = await runCli(['run', '--', 'cat'], { stdin: bytes })
  t.is(code, 0)
  t.is(Buffer.compare(stdout, bytes), 0)
})

privileged('SIGTERM ends the command and leaves nothing behind', async (t) => {
  const before = snapshotHost([])
  const running = new CliProcess(['run', '--wall', '60000', '--', 'sh', '-c', 'sleep 60'])
  const name = `cli-${running.child.pid}-`
  const deadline = performance.now() + 20_000
  while (snapshotHost([name]).cgroups.size < 2 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  running.child.kill('SIGTERM')
  const { code, stderr } = await running.finished
  t.is(stderr, 'opensandbox: interrupted\n')
  t.is(code, 137)
  t.deepEqual(await leftovers({ ...before, marks: [name] }, GONE_TIMEOUT_MS), [])
})

privileged('a reader that has had enough does no harm', async (t) => {
  const main = join(packageRoot, 'dist/src/cli/main.js')
  const line = `'${process.execPath}' '${main}' run -- seq 1 100000 </dev/null | head -n 1`
  const { stdout, stderr } = await promisify(execFile)('/bin/sh', ['-c', line])
  t.is(stdout, '1\n')
  t.is(stderr, '')
})
