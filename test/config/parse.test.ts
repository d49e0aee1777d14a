import test from 'ava'
import { type Environment, parse, unknownVariables } from '../../src/config/parse.ts'
import type { CommandName, Setting } from '../../src/config/setting.ts'
import { SETTINGS } from '../../src/config/settings.ts'

const settings = (args: string[], environment: Environment = {}, command: CommandName = 'serve') =>
  parse(command, args, environment).settings

test('without flags and variables the defaults hold', (t) => {
  const { host, port, grpcHost, grpcPort, role, natsUrl, stateDir, graceSecs, allowHostNetwork, bind } =
    settings([])
  t.deepEqual(
    { host, port, grpcHost, grpcPort, role, natsUrl, stateDir, graceSecs, allowHostNetwork, bind },
    {
      host: '127.0.0.1',
      port: 8080,
      grpcHost: null,
      grpcPort: 50051,
      role: 'all',
      natsUrl: null,
      stateDir: '/var/lib/opensandbox',
      graceSecs: 10,
      allowHostNetwork: false,
      bind: [],
    },
  )
})

test('defaults that depend on the host keep to their range', (t) => {
  const { maxSessions, maxRuns } = settings([])
  t.true(maxSessions >= 8 && maxSessions <= 1_000)
  t.true(maxRuns >= 64)
})

test('a flag is written with a blank or an equals sign', (t) => {
  t.is(settings(['--port', '9000']).port, 9000)
  t.is(settings(['--port=9000']).port, 9000)
  t.is(settings(['--nats-url=nats://a:b=c@d']).natsUrl, 'nats://a:b=c@d')
})

test('a flag goes before its variable, which goes before the default', (t) => {
  const environment = { OPENSANDBOX_PORT: '9001', OPENSANDBOX_ALLOW_HOST_NETWORK: 'true' }
  t.is(settings([], environment).port, 9001)
  t.is(settings(['--port', '9000'], environment).port, 9000)
  t.true(settings([], environment).allowHostNetwork)
  t.false(settings(['--allow-host-network=false'], environment).allowHostNetwork)
})

test('an empty variable counts as none', (t) => {
  t.is(settings([], { OPENSANDBOX_PORT: '', NATS_URL: '' }).port, 8080)
  t.is(settings([], { NATS_URL: '' }).natsUrl, null)
})

test('a list is given by several flags, or by a variable with commas', (t) => {
  t.deepEqual(settings(['--bind', '/a', '--bind=/b:/c']).bind, ['/a', '/b:/c'])
  t.deepEqual(settings([], { OPENSANDBOX_BIND: '/a,/b:/c' }).bind, ['/a', '/b:/c'])
  t.deepEqual(settings(['--bind', '/d'], { OPENSANDBOX_BIND: '/a' }).bind, ['/d'])
})

test('the last of two flags counts', (t) => {
  t.is(settings(['--port', '1', '--port', '2']).port, 2)
})

test('a command takes what is for it alone', (t) => {
  t.is(settings([], { OPENSANDBOX_PORT: 'abc' }, 'run').port, 8080)
})

test('what stands behind the flags is the command, untouched', (t) => {
  t.deepEqual(parse('run', ['--time', '5', '--', 'ls', '--time', '-l', '--'], {}).rest, [
    'ls',
    '--time',
    '-l',
    '--',
  ])
  t.deepEqual(parse('run', ['--time=5', 'ls', '--help'], {}).rest, ['ls', '--help'])
  t.false(parse('run', ['--', 'ls', '--help'], {}).help)
})

test('help is asked for by either flag', (t) => {
  t.true(parse('serve', ['--help'], {}).help)
  t.true(parse('run', ['-h'], {}).help)
})

const REFUSED: [command: CommandName, args: string[], environment: Environment, message: string][] = [
  ['serve', ['--prot', '1'], {}, 'unknown flag --prot; see opensandbox help serve'],
  ['serve', ['-p'], {}, 'unknown flag -p; see opensandbox help serve'],
  [
    'serve',
    ['--time=5'],
    {},
    'unknown flag --time (it belongs to opensandbox run); see opensandbox help serve',
  ],
  ['serve', ['--port'], {}, '--port needs a value'],
  ['serve', ['--port', '--host'], {}, '--port needs a value'],
  ['serve', ['--port', 'abc'], {}, '--port: "abc" is not a whole number from 0 to 65535'],
  ['serve', ['--port', '-1'], {}, '--port: "-1" is not a whole number from 0 to 65535'],
  ['serve', ['--port', '1e3'], {}, '--port: "1e3" is not a whole number from 0 to 65535'],
  ['serve', ['--port='], {}, '--port: "" is not a whole number from 0 to 65535'],
  ['serve', ['--port', '65536'], {}, '--port: "65536" is out of range: 0 to 65535'],
  ['serve', ['--host='], {}, '--host: "" is empty'],
  ['serve', ['--role', 'boss'], {}, '--role: "boss" is not one of all, gateway, worker'],
  ['serve', ['--worker-id', 'a.b'], {}, '--worker-id: "a.b" is not 1 to 64 letters, digits, - or _'],
  ['serve', ['--require-limits=maybe'], {}, '--require-limits: "maybe" is neither true nor false'],
  ['serve', ['extra'], {}, 'unexpected argument "extra"; see opensandbox help serve'],
  [
    'serve',
    [],
    { OPENSANDBOX_PORT: '8O80' },
    'OPENSANDBOX_PORT: "8O80" is not a whole number from 0 to 65535',
  ],
  [
    'serve',
    [],
    { OPENSANDBOX_LOG_LEVEL: 'loud' },
    'OPENSANDBOX_LOG_LEVEL: "loud" is not one of trace, debug, info, warn, error, fatal, silent',
  ],
  ['run', ['--env', 'NAME', '--', 'ls'], {}, '--env: "NAME" is not NAME=VALUE'],
  ['run', ['--env', '=x', '--', 'ls'], {}, '--env: "=x" is not NAME=VALUE'],
  ['run', ['--cwd', 'tmp', '--', 'ls'], {}, '--cwd: "tmp" is not an absolute path'],
  ['run', ['--mem', '1023', '--', 'ls'], {}, '--mem: "1023" is out of range: 1024 to 1073741824'],
  [
    'events',
    ['--since', 'noon'],
    {},
    '--since: "noon" is neither a time (RFC 3339) nor an age like 90s, 5m, 2h',
  ],
]

for (const [command, args, environment, message] of REFUSED) {
  test(`refused: ${command} ${args.join(' ')} ${JSON.stringify(environment)}`, (t) => {
    t.throws(() => parse(command, args, environment), { name: 'ConfigError', message })
  })
}

test('misspelt variables are found', (t) => {
  const environment = { OPENSANDBOX_PROT: '1', OPENSANDBOX_PORT: '1', PATH: '/bin', NATS_URL: 'x' }
  t.deepEqual(unknownVariables(environment), ['OPENSANDBOX_PROT'])
})

test('each flag and each variable stands for one setting', (t) => {
  const all: Setting[] = Object.values(SETTINGS)
  const flags = all.map(({ flag }) => flag)
  t.deepEqual([...new Set(flags)], flags)
  const variables = all.flatMap(({ variable }) => variable ?? [])
  t.deepEqual([...new Set(variables)], variables)
})

test('every flag of the service has a variable', (t) => {
  const all: Setting[] = Object.values(SETTINGS)
  const without = all.filter(({ commands, variable }) => commands.includes('serve') && variable === undefined)
  t.deepEqual(without, [])
})
