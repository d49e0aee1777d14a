import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { packageRoot } from '../../src/config/package-root.ts'
import { runCli, temporaryDirectory } from '../helpers/cli-process.ts'

const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'))

test('--version says the version of the package', async (t) => {
  const { code, stdout, stderr } = await runCli(['--version'])
  t.deepEqual({ code, stdout: stdout.toString(), stderr }, { code: 0, stdout: `${version}\n`, stderr: '' })
})

for (const args of [[], ['--help'], ['-h'], ['help']]) {
  test(`the overview: opensandbox ${args.join(' ')}`, async (t) => {
    const { code, stdout, stderr } = await runCli(args)
    t.is(code, 0)
    t.is(stderr, '')
    t.regex(stdout.toString(), /^Usage: opensandbox COMMAND \[FLAGS\]$/m)
  })
}

for (const args of [
  ['help', 'events'],
  ['events', '--help'],
]) {
  test(`help of a command: opensandbox ${args.join(' ')}`, async (t) => {
    const { code, stdout } = await runCli(args)
    t.is(code, 0)
    t.regex(stdout.toString(), /^Usage: opensandbox events \[FLAGS\]$/m)
  })
}

const REFUSED: [args: string[], code: number, line: string][] = [
  [['frobnicate'], 2, 'unknown command "frobnicate"; see opensandbox --help'],
  [['--frobnicate'], 2, 'unknown flag "--frobnicate"; see opensandbox --help'],
  [['help', 'frobnicate'], 2, 'unknown command "frobnicate"; see opensandbox --help'],
  [['serve', '--port', 'x'], 2, '--port: "x" is not a whole number from 0 to 65535'],
  [['run'], 2, 'no command given; see opensandbox help run'],
  [['--run', '--'], 2, 'no command given; see opensandbox help run'],
  [['run', '--', ''], 1, 'command[0]: must name a program'],
  [
    ['serve', '--role', 'gateway'],
    1,
    '--role gateway needs a NATS server that is shared with the others: give --nats-url',
  ],
]

for (const [args, code, line] of REFUSED) {
  test(`refused: opensandbox ${args.join(' ')}`, async (t) => {
    const finished = await runCli(args)
    t.is(finished.code, code)
    t.is(finished.stderr, `opensandbox: ${line}\n`)
  })
}

test('a variable that is wrong is named', async (t) => {
  const { code, stderr } = await runCli(['serve'], { env: { OPENSANDBOX_GRACE_SECS: '-1' } })
  t.is(code, 2)
  t.is(stderr, 'opensandbox: OPENSANDBOX_GRACE_SECS: "-1" is not a whole number from 0 to 3600\n')
})

test('events without a service says how to find one', async (t) => {
  const stateDir = await temporaryDirectory(t)
  const { code, stderr } = await runCli(['events', '--state-dir', stateDir])
  t.is(code, 1)
  t.is(
    stderr,
    `opensandbox: no service runs on ${stateDir}; start one, or say where it is by --state-dir or --nats-url\n`,
  )
})
