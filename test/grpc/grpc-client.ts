/** A real gRPC client of our own proto file, with promises. */
import { join } from 'node:path'
import {
  type CallOptions,
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { packageRoot } from '../../src/config/package-root.ts'

const LARGE_MESSAGE_BYTES = 300 << 20

export type Message = Record<string, unknown>

export interface GrpcClient {
  /** Resolves to the response and the trailers; rejects with the ServiceError. */
  call(
    method: string,
    request: Message,
    options?: CallSettings,
  ): Promise<{ response: Message; trailers: Metadata }>
  /** Starts a call and returns what cancels it beside its outcome. */
  start(method: string, request: Message): { cancel(): void; outcome: Promise<unknown> }
  close(): void
}

export interface CallSettings extends CallOptions {
  metadata?: Record<string, string>
}

type UnaryCall = (
  request: Message,
  metadata: Metadata,
  options: CallOptions,
  callback: (error: ServiceError | null, response: Message) => void,
) => { cancel(): void; on(event: 'status', listener: (status: { metadata: Metadata }) => void): void }

/** `serviceName` is fully qualified; its proto file our own unless `protoPath` says another. */
export function grpcClient(
  address: string,
  serviceName = 'sandbox.SandboxService',
  protoPath = join(packageRoot, 'proto/sandbox.proto'),
): GrpcClient {
  const definition = loadSync(protoPath, { keepCase: true, longs: Number, defaults: true, enums: String })
  const Client = serviceName
    .split('.')
    .reduce<unknown>((scope, name) => (scope as GrpcObject)[name], loadPackageDefinition(definition))
  const stub = new (Client as ServiceClientConstructor)(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': LARGE_MESSAGE_BYTES,
    'grpc.use_local_subchannel_pool': 1,
  })

  function start(method: string, request: Message, { metadata = {}, ...options }: CallSettings = {}) {
    const headers = new Metadata()
    for (const [name, value] of Object.entries(metadata)) headers.set(name, value)
    let cancel = () => {}
    const outcome = new Promise<{ response: Message; trailers: Metadata }>((resolve, reject) => {
      let answered: Message
      const unary = (stub[method] as unknown as UnaryCall).bind(stub)
      const call = unary(request, headers, options, (error, response) => {
        if (error) reject(error)
        answered = response
      })
      // The status follows the response and brings the trailers.
      call.on('status', (status) =>
        setImmediate(() => resolve({ response: answered, trailers: status.metadata })),
      )
      cancel = () => call.cancel()
    })
    return { cancel, outcome }
  }
  return { start, call: (...args) => start(...args).outcome, close: () => stub.close() }
}
