import { ALL_BYTES, ask, assertProblem, base64, type ContractCase, newSession, run } from './service.ts'

const sh = (script: string) => ['/bin/sh', '-c', script]

const ended: ContractCase[] = [
  {
    command: ['/bin/echo', 'Hello from sandbox!'],
    expected: { stdout: 'Hello from sandbox!\n', exit_code: 0 },
  },
  { command: ['echo', 'found by PATH'], expected: { stdout: 'found by PATH\n' } },
  {
    command: sh('echo out; echo err >&2; exit 3'),
    expected: { stdout: 'out\n', stderr: 'err\n', exit_code: 3 },
  },
  { command: sh('kill -TERM $$'), expected: { exit_code: null, signal: 15, cause: 'signaled' } },
].map(({ command, expected }) => ({
  name: `run ${command.join(' ')}`,
  run: async (t, service) => {
    const result = await run(t, service, { command })
    const { run_id, usage, ...rest } = result
    t.deepEqual(rest, {
      stdout: '',
      stderr: '',
      exit_code: 0,
      signal: null,
      cause: 'exited',
      error: null,
      stdout_truncated: false,
      stderr_truncated: false,
      ...expected,
    })
    t.is(typeof run_id, 'string')
    for (const name of ['cpu_ms', 'wall_ms', 'memory_peak_kb']) t.is(typeof usage[name], 'number', name)
  },
}))

const notExecuted: ContractCase[] = [
  { command: ['/no/such/program'], exit_code: 127 },
  { command: ['no-such-program'], exit_code: 127 },
  { command: ['/etc/passwd'], exit_code: 126 },
  { command: ['/tmp'], exit_code: 126 },
].map(({ command, exit_code }) => ({
  name: `run ${command} cannot be executed: ${exit_code}`,
  run: async (t, service) => {
    const result = await run(t, service, { command })
    t.like(result, { stdout: '', stderr: '', exit_code, signal: null, cause: 'exec_failed' })
    t.is(typeof result.error, 'string')
  },
}))

const limited: ContractCase[] = [
  { cause: 'cpu_limit', args: { command: sh('while :; do :; done'), time: 200 } },
  { cause: 'cpu_limit', args: { command: sh('while :; do :; done & while :; do :; done; wait'), time: 300 } },
  { cause: 'wall_limit', args: { command: ['sleep', '60'], wall: 300 } },
  { cause: 'memory_limit', args: { command: sh('head -c 200m /dev/zero | tail -n 1'), mem: 32_768 } },
].map(({ cause, args }) => ({
  name: `run ends by ${cause}: ${args.command.join(' ')}`,
  needsSandbox: true,
  run: async (t, service) => {
    const result = await run(t, service, args)
    t.is(result.cause, cause, JSON.stringify(result))
    t.not(result.exit_code, 0)
  },
}))

const refused: ContractCase[] = [
  { field: 'command', args: {} },
  { field: 'command', args: { command: [] } },
  { field: 'command', args: { command: 'ls' } },
  { field: 'command[1]', args: { command: ['ls', 7] } },
  { field: 'time', args: { command: ['ls'], time: 0 } },
  { field: 'time', args: { command: ['ls'], time: 1.5 } },
  { field: 'mem', args: { command: ['ls'], mem: -1 } },
  { field: 'nofile', args: { command: ['ls'], nofile: '64' } },
  { field: 'cwd', args: { command: ['ls'], cwd: 'relative' } },
  { field: 'env', args: { command: ['ls'], env: [] } },
  { field: 'encoding', args: { command: ['ls'], encoding: 'utf-16' } },
  { field: 'stdin', args: { command: ['ls'], stdin: '?', encoding: 'base64' } },
  { field: 'tiem', args: { command: ['ls'], tiem: 1 } },
].map(({ field, args }) => ({
  name: `run refuses ${field} in ${JSON.stringify(args)}`,
  run: async (t, service) => {
    const session = await newSession(t, service)
    for (const path of ['/run', `/sessions/${session}/run`]) {
      assertProblem(t, await ask(service, 'POST', path, args), 400, { code: 'invalid_argument', field })
    }
  },
}))

export const runCases: ContractCase[] = [
  ...ended,
  ...notExecuted,
  ...limited,
  ...refused,
  {
    name: 'run hands stdin on, as text and as any bytes, and output back',
    run: async (t, service) => {
      t.is((await run(t, service, { command: ['cat'], stdin: 'é\n' })).stdout, 'é\n')
      const stdin = base64(ALL_BYTES)
      const bytes = await run(t, service, { command: ['cat'], stdin, encoding: 'base64' })
      t.is(bytes.stdout, stdin)
      t.is((await run(t, service, { command: ['cat'] })).stdout, '')
    },
  },
  {
    name: 'run shows bytes that are no text as U+FFFD',
    run: async (t, service) => {
      const result = await run(t, service, { command: ['printf', 'a\\377b'] })
      t.is(result.stdout, 'a\ufffdb')
    },
  },
  {
    name: 'run keeps output_limit bytes of each stream, says so, and lets the command go on',
    run: async (t, service) => {
      const script = 'head -c 300000 /dev/zero | tr "\\0" x; echo err >&2; exit 4'
      const result = await run(t, service, { command: sh(script), output_limit: 10 })
      t.like(result, { stdout: 'x'.repeat(10), stderr: 'err\n', exit_code: 4 })
      t.like(result, { stdout_truncated: true, stderr_truncated: false })
    },
  },
  {
    name: 'run returns a megabyte of output whole',
    run: async (t, service) => {
      const result = await run(t, service, { command: sh('head -c 1000000 /dev/zero | tr "\\0" x') })
      t.true(result.stdout === 'x'.repeat(1_000_000))
      t.false(result.stdout_truncated)
    },
  },
  {
    name: 'one-shot runs leave nothing to the next one',
    needsSandbox: true,
    run: async (t, service) => {
      await run(t, service, { command: sh('echo x > /tmp/left; sleep 100 > /dev/null 2>&1 &') })
      const next = await run(t, service, { command: sh('ls /tmp/left') })
      t.not(next.exit_code, 0)
    },
  },
  {
    name: 'run has 64 open files unless told otherwise',
    needsSandbox: true,
    run: async (t, service) => {
      t.is((await run(t, service, { command: sh('ulimit -n') })).stdout, '64\n')
      t.is((await run(t, service, { command: sh('ulimit -n'), nofile: 100 })).stdout, '100\n')
    },
  },
]
