/** gRPC as an SDK speaks it: one channel, the service's own proto file. */
import { join } from 'node:path'
import { type Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { packageRoot } from '../src/config/package-root.ts'

type Method = (request: object, done: (error: Error | null, response: never) => void) => void

function serviceConstructor(): ServiceClientConstructor {
  const definition = loadSync(join(packageRoot, 'proto/sandbox.proto'), {
    keepCase: true,
    longs: Number,
    defaults: true,
  })
  const { sandbox } = loadPackageDefinition(definition) as unknown as {
    sandbox: { SandboxService: ServiceClientConstructor }
  }
  return sandbox.SandboxService
}

export class GrpcClient {
  readonly #client: Client & Record<string, Method>

  constructor(port: number) {
    const Service = serviceConstructor()
    // A channel of its own for each client, as programs on different machines have.
    const options = { 'grpc.use_local_subchannel_pool': 1 }
    this.#client = new Service(`127.0.0.1:${port}`, credentials.createInsecure(), options) as never
  }

  call<T>(method: string, request: object): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#client[method]?.(request, (error, response) =>
        error === null ? resolve(response as T) : reject(error),
      )
    })
  }

  async run(sessionId: string, command: string[]): Promise<void> {
    const result = await this.call<{ exit_code: number }>('RunCommand', { session_id: sessionId, command })
    if (result.exit_code !== 0) throw new Error(`RunCommand: ${JSON.stringify(result)}`)
  }

  close(): void {
    this.#client.close()
  }
}
