/**
 * The service without nats-server and without isolation: real front-ends, bus client, worker and session actors over a
 * bus in memory, commands as plain processes of this host, files in a map. It tests the contract's cases where the real
 * service cannot be started; cases that need a sandbox are not asked of it.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { posix } from 'node:path'
import type { RunOutcome, RunSpec, Sandbox, SandboxProvider } from '../../actors/ports.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { FileEntry } from '../../proto/files.ts'
import type { BusClient } from '../../src/bus/api.ts'
import { SandboxClient } from '../../src/bus/sandbox-client.ts'
import { startGrpc } from '../../src/grpc/server.ts'
import { startHttp } from '../../src/http/server.ts'
import { startWorker } from '../../src/worker/start-worker.ts'
import { silent } from '../http/fake-client.ts'
import { MemoryBus, MemoryLog } from '../worker/memory-bus.ts'

const GRACE_MS = 1_000

export async function startModel() {
  const bus = new MemoryBus()
  const provider: SandboxProvider = { acquire: async () => new HostSandbox() }
  const worker = startWorker({
    bus,
    provider,
    events: new MemoryLog(),
    log: silent,
    workerId: 'model',
    maxSessions: 1_000,
    maxRunning: 1_000,
    previewDomain: null,
    allowHostNetwork: false,
    limits: {},
    version: '0.0.0',
  })
  const answer: BusClient['request'] = async (request, unanswered) => {
    const { subject, args, body, signal } = request
    // As over the wire: what is undefined is absent.
    const sent = JSON.parse(JSON.stringify(args))
    const answered = bus.request(subject, sent, body, signal).catch((error) => {
      if (/^no responder/.test(error.message)) throw new SandboxError(unanswered, 'Nobody answers.')
      throw error
    })
    return (await answered) as never
  }
  const client = new SandboxClient({
    request: answer,
    gather: async (request) => [await answer(request, 'no_worker')] as never,
    workers: () => [worker.info()],
  })
  const listener = { client, log: silent, host: '127.0.0.1', port: 0, version: '0.0.0' }
  const http = await startHttp(listener)
  const grpc = await startGrpc(listener)
  return {
    url: `http://127.0.0.1:${http.address.port}`,
    grpcAddress: `127.0.0.1:${grpc.address.port}`,
    stop: async () => {
      await Promise.all([http.stop(GRACE_MS), grpc.stop(GRACE_MS)])
      await worker.stop(GRACE_MS)
    },
  }
}

class HostSandbox implements Sandbox {
  readonly id = 'host'
  readonly lost = new Promise<string>(() => {})
  readonly #files = new Map<string, Uint8Array>()

  run(spec: RunSpec, signal: AbortSignal): Promise<RunOutcome> {
    return new Promise((resolve) => {
      const env = { PATH: process.env.PATH, ...spec.env }
      const child = spawn(spec.command[0] ?? '', spec.command.slice(1), { cwd: spec.cwd, env, signal })
      const stdout: Buffer[] = []
      const stderr: Buffer[] = []
      child.stdout.on('data', (chunk) => stdout.push(chunk))
      child.stderr.on('data', (chunk) => stderr.push(chunk))
      child.stdin.on('error', () => {})
      child.stdin.end(spec.stdin)
      const end = (ended: Pick<RunOutcome, 'cause' | 'exitCode' | 'signal' | 'error'>) => {
        const [out, err] = [stdout, stderr].map((chunks) => Buffer.concat(chunks)) as [Buffer, Buffer]
        const limit = spec.limits.outputBytes
        resolve({
          ...ended,
          stdout: out.subarray(0, limit),
          stderr: err.subarray(0, limit),
          stdoutTruncated: out.length > limit,
          stderrTruncated: err.length > limit,
          usage: { cpu_ms: 0, wall_ms: 0, memory_peak_kb: 0 },
        })
      }
      child.on('error', (error: NodeJS.ErrnoException) => {
        const exitCode = error.code === 'ENOENT' ? 127 : 126
        end({ cause: 'exec_failed', exitCode, signal: null, error: error.message })
      })
      child.on('close', (exitCode, name) => {
        if (name === null) end({ cause: 'exited', exitCode, signal: null, error: null })
        else end({ cause: 'signaled', exitCode: null, signal: constants.signals[name], error: null })
      })
    })
  }

  async writeFile(path: string, content: Uint8Array): Promise<void> {
    if (this.#isDirectory(path)) throw new SandboxError('not_a_file', `${path} is a directory.`)
    this.#files.set(path, Uint8Array.from(content))
  }

  async readFile(path: string): Promise<Uint8Array> {
    const content = this.#files.get(path)
    if (content !== undefined) return content
    if (this.#isDirectory(path)) throw new SandboxError('not_a_file', `${path} is a directory.`)
    throw new SandboxError('path_not_found', `${path} does not exist.`)
  }

  async listFiles(path: string): Promise<FileEntry[]> {
    await this.checkDirectory(path)
    const below = [...this.#files].filter(([file]) => file.startsWith(`${path}/`))
    const names = new Set(below.map(([file]) => posix.relative(path, file).split('/')[0] ?? ''))
    return [...names].sort().map((name) => {
      const entry = posix.join(path, name)
      return {
        name,
        path: entry,
        is_directory: this.#isDirectory(entry),
        size: this.#files.get(entry)?.length ?? 0,
      }
    })
  }

  async checkDirectory(path: string): Promise<void> {
    if (this.#isDirectory(path)) return
    if (this.#files.has(path) || path === '/etc/passwd') {
      throw new SandboxError('not_a_directory', `${path} is not a directory.`)
    }
    throw new SandboxError('path_not_found', `${path} does not exist.`)
  }

  async destroy(): Promise<void> {
    this.#files.clear()
  }

  #isDirectory(path: string): boolean {
    return (
      ['/', '/tmp', '/usr'].includes(path) ||
      [...this.#files.keys()].some((file) => file.startsWith(`${path}/`))
    )
  }
}
