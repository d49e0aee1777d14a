/** The service under test, as users start it: a process of its own, with a private nats-server and state directory. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { packageRoot } from '../src/config/package-root.ts'
import { GrpcClient } from './grpc-client.ts'
import { HttpClient } from './http-client.ts'

const START_MS_MAX = 30_000
const STOP_MS_MAX = 60_000
const POLL_MS = 50
const KB_PER_PAGE = 4

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

export class Service {
  readonly httpPort: number
  readonly grpcPort: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, httpPort: number, grpcPort: number) {
    this.#child = child
    this.httpPort = httpPort
    this.grpcPort = grpcPort
  }

  /** Resolves when it answers. */
  static async start(stateDir: string, flags: string[] = []): Promise<Service> {
    const [httpPort, grpcPort] = [await freePort(), await freePort()]
    const args = [
      ...profilingFlags(),
      join(packageRoot, 'dist/src/cli/main.js'),
      ...['serve', '--port', String(httpPort), '--grpc-port', String(grpcPort), '--state-dir', stateDir],
      ...['--log-level', 'warn', ...flags],
    ]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    const service = new Service(child, httpPort, grpcPort)
    const end = performance.now() + START_MS_MAX
    while (!(await service.#isReady())) {
      if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}`)
      if (performance.now() > end) throw new Error('the service did not become ready')
      await sleep(POLL_MS)
    }
    return service
  }

  http(): HttpClient {
    return new HttpClient(this.httpPort)
  }

  grpc(): GrpcClient {
    return new GrpcClient(this.grpcPort)
  }

  /** Resident memory of the service's own processes: Node and nats-server, not the inits. */
  residentKb(): number {
    const own = [String(this.#child.pid), ...childrenOf(this.#child.pid ?? 0, 'nats-server')]
    return own.reduce((sum, pid) => sum + residentKb(pid), 0)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await exited
    clearTimeout(timer)
  }

  async #isReady(): Promise<boolean> {
    const http = this.http()
    try {
      return (await http.request('GET', '/health')).status === 200
    } catch {
      return false
    } finally {
      http.close()
    }
  }
}

/** BENCH_NODE_FLAGS, e.g. `--cpu-prof --cpu-prof-dir=/tmp/profile`, for whoever wants to know where the time goes. */
function profilingFlags(): string[] {
  return (process.env.BENCH_NODE_FLAGS ?? '').split(' ').filter(Boolean)
}

function childrenOf(parent: number, name: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      return (
        stat.includes(`(${name})`) && stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(parent)
      )
    } catch {
      return false // ended meanwhile
    }
  })
}

function residentKb(pid: string): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * KB_PER_PAGE
}
