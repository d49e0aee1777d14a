/** The service as a user starts it: the compiled command line, a process of its own, a state directory of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot } from '../../src/config/package-root.ts'
import type { StartedService } from '../contract/contract.ts'
import { type HostSnapshot, snapshotHost } from '../helpers/host-snapshot.ts'

const MAIN = join(packageRoot, 'dist/src/cli/main.js')
const START_MS_MAX = 30_000

export interface ServiceProcess extends StartedService {
  child: ChildProcess
  stateDir: string
  workerId: string
  /** What there was before it started; its marks are the worker's id and the state directory. */
  before: HostSnapshot
  /** Every line of its log so far. */
  log: Record<string, unknown>[]
  /** Resolves to the exit code. */
  exited: Promise<number | null>
}

interface Line {
  msg?: string
  host?: string
  port?: number
}

function addressIn(log: Line[], message: string): string | undefined {
  const line = log.find(({ msg }) => msg === message)
  return line && `${line.host}:${line.port}`
}

/** `again`: with the state directory and the name of one that has ended. */
export async function startProcess(again?: ServiceProcess): Promise<ServiceProcess> {
  const stateDir = again?.stateDir ?? mkdtempSync(join(tmpdir(), 'osb-e2e-'))
  const workerId = again?.workerId ?? `e2e-${process.pid}-${randomBytes(3).toString('hex')}`
  const before = again?.before ?? snapshotHost([workerId, stateDir])
  const args = ['serve', '--port', '0', '--grpc-port', '0', '--state-dir', stateDir, '--worker-id', workerId]
  const child = spawn(process.execPath, [MAIN, ...args, '--log-format', 'json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  const log: Line[] = []
  const ready = new Promise<void>((resolve, reject) => {
    if (child.stdout === null) throw new Error('no stdout')
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as Line
      log.push(line)
      if (line.msg?.startsWith('ready')) resolve()
    })
    void exited.then((code) => reject(new Error(`the service ended with ${code}: ${JSON.stringify(log)}`)))
    setTimeout(() => reject(new Error(`not ready: ${JSON.stringify(log)}`)), START_MS_MAX).unref()
  })
  await ready
  return {
    url: `http://${addressIn(log, 'HTTP is up')}`,
    grpcAddress: addressIn(log, 'gRPC is up') ?? '',
    child,
    stateDir,
    workerId,
    before,
    log: log as Record<string, unknown>[],
    exited,
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM')
      await exited
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

export interface CommandResult {
  code: number | null
  stdout: string
  stderr: string
}

/** `opensandbox ARGS`, to its end. */
export function opensandbox(args: string[], stdin = ''): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], (_, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    )
    child.stdin?.end(stdin)
  })
}
