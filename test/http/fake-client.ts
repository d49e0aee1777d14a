/** A bus client that records what it is asked and answers as a test tells it to. */
import pino from 'pino'
import { SandboxError } from '../../proto/errors.ts'
import type { RunResult } from '../../proto/run.ts'
import type { SessionInfo } from '../../proto/session.ts'
import type { WorkerInfo } from '../../src/bus/api.ts'
import type { CallContext, SandboxClient } from '../../src/bus/sandbox-client.ts'

export const silent = pino({ level: 'silent' })

export const runResult: RunResult = {
  run_id: 'run-1',
  exit_code: 0,
  signal: null,
  cause: 'exited',
  error: null,
  usage: { cpu_ms: 1.5, wall_ms: 2.25, memory_peak_kb: 640 },
  stdout_bytes: 6,
  stderr_bytes: 0,
  stdout_truncated: false,
  stderr_truncated: false,
  stdout: Buffer.from('hello\n'),
  stderr: new Uint8Array(),
}

export const sessionInfo: SessionInfo = {
  id: 's-1',
  env: { A: '1' },
  cwd: '/tmp',
  age_secs: 4,
  idle_secs: 2,
  preview_url: null,
  ports: [],
  status: 'idle',
  expires_at: '2030-01-01T00:00:00.000Z',
  metadata: {},
  limits: {},
  worker: 'w-1',
}

export const workerInfo: WorkerInfo = {
  id: 'w-1',
  sessions: 3,
  max_sessions: 100,
  running: 1,
  draining: false,
  limits: { memory: 'cgroup1' },
  version: '0.1.0',
}

const answers = {
  createSession: { session_id: 's-1', preview_url: null },
  listSessions: [sessionInfo],
  getSession: sessionInfo,
  deleteSession: undefined,
  setEnv: undefined,
  setCwd: undefined,
  run: runResult,
  runOnce: runResult,
  writeFile: undefined,
  writeFiles: { success: true, errors: [] },
  readFile: new Uint8Array(),
  listFiles: { files: [] },
}

export type MethodName = keyof typeof answers
export const methodNames = Object.keys(answers) as MethodName[]

export interface RecordedCall {
  method: MethodName
  context: CallContext
  args: unknown[]
}

export interface FakeClient {
  client: SandboxClient
  calls: RecordedCall[]
  /** What `method` resolves to from now on. */
  answer(method: MethodName, value: unknown): void
  /** What every method rejects with from now on. */
  fail(error: Error): void
  /** Makes `method` wait until its signal aborts, then reject. Resolves with the call as soon as it is under way. */
  hang(method: MethodName): { started: Promise<RecordedCall>; aborted: Promise<void>; release(): void }
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue
    reject = onError
  })
  return { promise, resolve, reject }
}

export function fakeClient(): FakeClient {
  const calls: RecordedCall[] = []
  const behaviours = new Map<MethodName, (call: RecordedCall) => Promise<unknown>>()
  const called = (method: MethodName, context: CallContext, args: unknown[]) => {
    const call = { method, context, args }
    calls.push(call)
    return behaviours.get(method)?.(call) ?? Promise.resolve(answers[method])
  }
  const methods = methodNames.map((method) => [
    method,
    (context: CallContext, ...args: unknown[]) => called(method, context, args),
  ])
  const client = { ...Object.fromEntries(methods), workers: () => [workerInfo] } as unknown as SandboxClient

  function hang(method: MethodName) {
    const started = deferred<RecordedCall>()
    const aborted = deferred<void>()
    const held = deferred<unknown>()
    behaviours.set(method, (call) => {
      call.context.signal?.addEventListener('abort', () => {
        aborted.resolve()
        held.reject(new SandboxError('timeout', 'aborted'))
      })
      started.resolve(call)
      return held.promise
    })
    return {
      started: started.promise,
      aborted: aborted.promise,
      release: () => held.resolve(answers[method]),
    }
  }
  return {
    client,
    calls,
    hang,
    answer: (method, value) => behaviours.set(method, () => Promise.resolve(value)),
    fail: (error) => {
      for (const method of methodNames) behaviours.set(method, () => Promise.reject(error))
    },
  }
}
