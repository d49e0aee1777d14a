import { join } from 'node:path'
import {
  logVerbosity,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  setLogVerbosity,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation, protoPath as healthProtoPath } from 'grpc-health-check'
import type { Logger } from 'pino'
import { MAX_ARGUMENT_BYTES, MAX_FILE_BYTES } from '../../proto/limits.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import { packageRoot } from '../config/package-root.ts'
import { InFlight, withinGrace } from '../in-flight.ts'
import { sandboxService } from './service.ts'

const SERVICE = 'sandbox.SandboxService'

/** A file or stdin of the largest size, and the rest of the message beside it. */
const MAX_RECEIVE_BYTES = MAX_FILE_BYTES + 4 * MAX_ARGUMENT_BYTES
/** The server's own pings notice, while a run is under way, that the client's machine is gone. */
const KEEPALIVE_INTERVAL_MS = 30_000
const KEEPALIVE_TIMEOUT_MS = 20_000
/** For answers to leave after the last call is done. */
const FLUSH_MS = 100
/** Calls at a time on one connection; a client that needs more opens another. */
const MAX_CONCURRENT_CALLS = 1_000

export interface GrpcOptions {
  client: SandboxClient
  log: Logger
  host: string
  /** 0 picks a free one. */
  port: number
}

export interface GrpcServer {
  address: { address: string; port: number }
  /** Takes no new calls, answers those under way, and cuts off what is left after `graceMs`. Again, to hurry. */
  stop(graceMs: number): Promise<void>
}

// The library would write to stderr what it also throws.
setLogVerbosity(logVerbosity.NONE)

export async function startGrpc({ client, log, host, port }: GrpcOptions): Promise<GrpcServer> {
  const definition = loadSync([join(packageRoot, 'proto/sandbox.proto'), healthProtoPath], {
    keepCase: true,
    longs: Number,
    defaults: true,
  })
  const calls = new InFlight<object>()
  const server = new Server({
    'grpc.max_receive_message_length': MAX_RECEIVE_BYTES,
    // grpc-js asks no minimum interval of a client's pings, so any client's keepalive is welcome.
    'grpc.keepalive_time_ms': KEEPALIVE_INTERVAL_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.max_concurrent_streams': MAX_CONCURRENT_CALLS,
    // Its bookkeeping of every call is for a service that we do not offer.
    'grpc.enable_channelz': 0,
  })
  server.addService(definition[SERVICE] as ServiceDefinition, sandboxService(client, log, calls))
  const health = new HealthImplementation({ '': 'SERVING', [SERVICE]: 'SERVING' })
  health.addToServer(server)
  new ReflectionService(definition).addToServer(server)
  const boundPort = await bind(server, host, port)

  async function stop(graceMs: number): Promise<void> {
    for (const name of ['', SERVICE]) health.setStatus(name, 'NOT_SERVING')
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
    // The last answers leave with `closed`, unless somebody watches our health or keeps reflection open for ever.
    await withinGrace(calls.empty(), graceMs)
    await withinGrace(closed, Math.min(graceMs, FLUSH_MS))
    server.forceShutdown()
  }
  return { address: { address: host, port: boundPort }, stop }
}

function bind(server: Server, host: string, port: number): Promise<number> {
  const authority = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  return new Promise((resolve, reject) => {
    server.bindAsync(authority, ServerCredentials.createInsecure(), (error, boundPort) => {
      if (error === null) resolve(boundPort)
      else reject(error)
    })
  })
}
