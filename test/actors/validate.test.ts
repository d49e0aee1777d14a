import test from 'ava'
import fc from 'fast-check'
import {
  checkArgumentBytes,
  checkCommand,
  checkEnv,
  checkMetadata,
  checkPath,
} from '../../actors/arguments.ts'
import { validate } from '../../actors/validate.ts'
import { SandboxError } from '../../proto/errors.ts'
import { FileWriteBulkArgsSchema } from '../../proto/files.ts'
import { MAX_ARGUMENT_STRING_BYTES, MAX_ENV_VARIABLES, MAX_PATH_BYTES } from '../../proto/limits.ts'
import { RunArgsSchema } from '../../proto/run.ts'
import { CreateArgsSchema, NoArgsSchema } from '../../proto/session.ts'

function fault(check: () => unknown): { code: string; field: string | undefined; message: string } | null {
  try {
    check()
    return null
  } catch (thrown) {
    const { code, field, message } = thrown as SandboxError
    return { code, field, message }
  }
}

const faults: [unknown, string | undefined, string][] = [
  [{}, 'command', 'command: is required'],
  [{ command: null }, 'command', 'command: is required'],
  [{ command: [] }, 'command', 'command: must not be empty'],
  [{ command: 'ls' }, 'command', 'command: must be array'],
  [{ command: ['ls', 1] }, 'command[1]', 'command[1]: must be string'],
  [{ command: ['ls', 'a\0b'] }, 'command[1]', 'command[1]: must not contain NUL'],
  [{ command: ['ls'], cwd: 'tmp' }, 'cwd', 'cwd: must be an absolute path'],
  [{ command: ['ls'], cwd: '/a\0' }, 'cwd', 'cwd: must not contain NUL'],
  [{ command: ['ls'], env: { A: 1 } }, 'env.A', 'env.A: must be string'],
  [{ command: ['ls'], env: { 'a/b~c': 1 } }, 'env.a/b~c', 'env.a/b~c: must be string'],
  [{ command: ['ls'], env: { A: null } }, 'env.A', 'env.A: must be string'],
  [{ command: ['ls'], env: [] }, 'env', 'env: must be object'],
  [{ command: ['ls'], time: 0 }, 'time', 'time: must be >= 1'],
  [{ command: ['ls'], time: 1.5 }, 'time', 'time: must be integer'],
  [{ command: ['ls'], mem: '1' }, 'mem', 'mem: must be integer'],
  [{ command: ['ls'], timeout: 1 }, 'timeout', 'timeout: is not a known field'],
  [[], undefined, 'The arguments must be object.'],
  ['ls', undefined, 'The arguments must be object.'],
]

for (const [args, field, message] of faults) {
  test(`run ${JSON.stringify(args)}: ${message}`, (t) => {
    t.deepEqual(
      fault(() => validate(RunArgsSchema, args)),
      { code: 'invalid_argument', field, message },
    )
  })
}

test('an absent optional field, a null one and absent arguments are the same', (t) => {
  const command = ['ls']
  t.deepEqual(validate(RunArgsSchema, { command, time: null, env: null }), { command })
  t.deepEqual(validate(NoArgsSchema, undefined), {})
  t.deepEqual(validate(NoArgsSchema, null), {})
})

test('a choice names what may be chosen, a nested field its way', (t) => {
  t.is(
    fault(() => validate(CreateArgsSchema, { network: 'wifi' }))?.message,
    'network: must be "none" or "host"',
  )
  t.is(fault(() => validate(CreateArgsSchema, { limits: { time: -1 } }))?.field, 'limits.time')
  t.is(fault(() => validate(CreateArgsSchema, { limits: { x: 1 } }))?.field, 'limits.x')
  const files = [
    { path: '/a', size: 1 },
    { path: '/b', size: -1 },
  ]
  t.is(fault(() => validate(FileWriteBulkArgsSchema, { files }))?.field, 'files[1].size')
})

const argumentFaults: [string, () => unknown, string | undefined, RegExp][] = [
  ['a variable without a name', () => checkEnv({ '': 'x' }), 'env', /without a name/],
  ['a name with =', () => checkEnv({ 'A=B': 'x' }), 'env.A=B', /must not have `=`/],
  ['a name with NUL', () => checkEnv({ 'A\0': 'x' }), 'env.A\0', /NUL/],
  ['a value with NUL', () => checkEnv({ A: 'x\0' }), 'env.A', /NUL/],
  ['half a character', () => checkEnv({ A: '\ud800' }), 'env.A', /Unicode/],
  ['a name with a line break and a number', () => checkEnv({ 'A\nB': 1 as never }), 'env.A\nB', /string/],
  ['a long name', () => checkEnv({ [`${'N'.repeat(100)}=`]: '' }), `env.${'N'.repeat(64)}…`, /=/],
  ['a long value', () => checkEnv({ A: 'x'.repeat(MAX_ARGUMENT_STRING_BYTES - 1) }), 'env.A', /bytes/],
  ['an empty program', () => checkCommand(['']), 'command[0]', /name a program/],
  ['a long argument', () => checkCommand(['a', 'é'.repeat(65_536)]), 'command[1]', /131072 bytes/],
  [
    'arguments too long together',
    () => checkArgumentBytes(Array(9).fill('x'.repeat(130_000)), {}),
    'command',
    /come to/,
  ],
  ['a path too long in bytes', () => checkPath('path', `/${'é'.repeat(2_048)}`), 'path', /4097 bytes/],
  ['an empty path', () => checkPath('path', ''), 'path', /absolute/],
  ['long metadata', () => checkMetadata({ k: 'é'.repeat(513) }), 'metadata.k', /1026 bytes/],
]

for (const [name, check, field, message] of argumentFaults) {
  test(`${name} is refused`, (t) => {
    const found = fault(check)
    t.is(found?.code, 'invalid_argument')
    t.is(found?.field, field)
    t.regex(found?.message ?? '', message)
  })
}

test('what is just within the bounds is accepted', (t) => {
  t.notThrows(() => checkEnv({ A: 'x'.repeat(MAX_ARGUMENT_STRING_BYTES - 2) }))
  t.notThrows(() => checkCommand(['x'.repeat(MAX_ARGUMENT_STRING_BYTES), '']))
  t.notThrows(() => checkPath('path', `/${'x'.repeat(MAX_PATH_BYTES - 1)}`))
  const many = Object.fromEntries(Array.from({ length: MAX_ENV_VARIABLES }, (_, index) => [`V${index}`, '']))
  t.notThrows(() => checkEnv(many))
  t.is(fault(() => checkEnv({ ...many, ONE_MORE: '' }))?.field, 'env')
})

test('whatever is no object is refused, whatever is thrown is a SandboxError', (t) => {
  fc.assert(
    fc.property(fc.anything(), (args) => {
      try {
        validate(RunArgsSchema, args)
      } catch (thrown) {
        t.true(thrown instanceof SandboxError)
      }
    }),
  )
})
