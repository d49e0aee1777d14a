import { constants } from 'node:os'
import type { NativeExecConfig } from '../../src/sandbox/binding.ts'
import { EXEC, fileRig, shell, test, text } from './rig.ts'

const rig = fileRig()
const sandbox = (() => {
  let made: Promise<number> | undefined
  return () => {
    made ??= rig().create()
    return made
  }
})()

test('an outcome has every field', async (t) => {
  const outcome = await rig().exec(await sandbox(), shell('echo out; echo err >&2; exit 3'))
  t.deepEqual(Object.keys(outcome), [
    'cause',
    'stage',
    'error',
    'exitCode',
    'signal',
    'leftover',
    'cpuUs',
    'wallUs',
    'memoryPeakBytes',
    'stdout',
    'stderr',
    'stdoutTruncated',
    'stderrTruncated',
  ])
  const { cpuUs, wallUs, memoryPeakBytes, stdout, stderr, ...rest } = outcome
  t.deepEqual(rest, {
    cause: 'exited',
    stage: '',
    error: '',
    exitCode: 3,
    signal: 0,
    leftover: 0,
    stdoutTruncated: false,
    stderrTruncated: false,
  })
  t.is(text(stdout), 'out\n')
  t.is(text(stderr), 'err\n')
  t.true(stdout instanceof Uint8Array)
  for (const used of [cpuUs, wallUs, memoryPeakBytes]) t.true(Number.isInteger(used) && used > 0)
})

test('a signal, and an exec that failed', async (t) => {
  const killed = await rig().exec(await sandbox(), shell('kill -TERM $$'))
  t.like(killed, { cause: 'signaled', exitCode: -1, signal: constants.signals.SIGTERM })
  const failed = await rig().exec(await sandbox(), { argv: ['/bin/no-such'] })
  t.like(failed, { cause: 'exec_failed', stage: 'exec', error: 'ENOENT', exitCode: -1, signal: 0 })
  t.is(failed.stderr.length, 0)
  const nowhere = await rig().exec(await sandbox(), { cwd: '/no/such' })
  t.like(nowhere, { cause: 'exec_failed', stage: 'cwd', error: 'ENOENT' })
})

test('bytes of any content and size go in and come out', async (t) => {
  for (const size of [1, 16_383, 16_384, 65_537, 3_000_000]) {
    const stdin = Uint8Array.from({ length: size }, (_, at) => (at * 7 + (at >> 8)) & 0xff)
    const { stdout } = await rig().exec(await sandbox(), { argv: ['/bin/cat'], stdin })
    t.is(Buffer.compare(stdout, stdin), 0, `${size} bytes`)
  }
})

test('a view into a larger buffer is only that view', async (t) => {
  const stdin = new Uint8Array(Buffer.from('abcdef').buffer, 0, 0)
  t.is(text((await rig().exec(await sandbox(), { argv: ['/bin/cat'], stdin })).stdout), '')
  const view = new Uint8Array(Uint8Array.from(Buffer.from('abcdef')).buffer, 2, 3)
  t.is(text((await rig().exec(await sandbox(), { argv: ['/bin/cat'], stdin: view })).stdout), 'cde')
})

test('what is kept of the output is bounded', async (t) => {
  const outcome = await rig().exec(await sandbox(), { ...shell('printf 123456'), outputBytes: 4 })
  t.is(text(outcome.stdout), '1234')
  t.true(outcome.stdoutTruncated)
  t.false(outcome.stderrTruncated)
})

test('many at once, each with its own outcome', async (t) => {
  const handle = await sandbox()
  const codes = Array.from({ length: 40 }, (_, code) => code)
  const outcomes = await Promise.all(codes.map((code) => rig().exec(handle, shell(`exit ${code}`))))
  t.deepEqual(
    outcomes.map((outcome) => outcome.exitCode),
    codes,
  )
})

test('returns a handle at once and calls back later', async (t) => {
  const handle = await sandbox()
  let returned = false
  await new Promise<void>((resolve) => {
    const run = rig().engine.exec(handle, EXEC, () => {
      t.true(returned)
      resolve()
    })
    t.true(Number.isInteger(run) && run > 0)
    returned = true
  })
})

test('a sandbox that is not there', async (t) => {
  const error = await t.throwsAsync(rig().exec(1, {}))
  t.like(error, { code: 'ESRCH', errno: constants.errno.ESRCH, message: 'the sandbox has ended' })
})

test('a wrong property is a TypeError that names it', async (t) => {
  const handle = await sandbox()
  const wrong: [string, Record<string, unknown>][] = [
    ['argv must be an array of strings', { argv: 'true' }],
    ['argv must be an array of strings without NUL', { argv: ['a\0b'] }],
    ['env must be an array of strings without NUL', { env: [1] }],
    ['cwd must be a string without NUL', { cwd: null }],
    ['cpuMs must be a number from 0 to 2^53 - 1', { cpuMs: -1 }],
    ['wallMs must be a number from 0 to 2^53 - 1', { wallMs: Number.NaN }],
    ['stdin must be a Uint8Array', { stdin: 'text' }],
  ]
  for (const [message, property] of wrong) {
    const config = { ...EXEC, ...property } as NativeExecConfig
    t.throws(() => rig().engine.exec(handle, config, () => t.fail()), { instanceOf: TypeError, message })
  }
  const throwing = {
    ...EXEC,
    get cwd(): string {
      throw new RangeError('mine')
    },
  }
  t.throws(() => rig().engine.exec(handle, throwing, () => t.fail()), {
    instanceOf: RangeError,
    message: 'mine',
  })
  t.throws(() => rig().engine.exec(handle, EXEC, undefined as never), { message: 'done must be a function' })
})
