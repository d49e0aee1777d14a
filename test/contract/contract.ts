import test from 'ava'
import { grpcClient } from '../grpc/grpc-client.ts'
import { fileCases } from './file-cases.ts'
import { grpcCases } from './grpc-cases.ts'
import { runCases } from './run-cases.ts'
import type { Service } from './service.ts'
import { sessionCases } from './session-cases.ts'

export interface StartedService {
  /** As `http://127.0.0.1:8080`. */
  url: string
  /** As `127.0.0.1:50051`. */
  grpcAddress: string
  stop(): Promise<void>
}

/** Declares the whole contract as tests of this file, against one service that `start` starts for all of them. */
export function declareContract(
  start: () => Promise<StartedService>,
  { hasSandbox }: { hasSandbox: boolean },
) {
  let started: StartedService | undefined
  let service: Service

  test.before(async () => {
    started = await start()
    service = { url: started.url, grpc: grpcClient(started.grpcAddress) }
  })

  test.after.always(async () => {
    service?.grpc.close()
    await started?.stop()
  })

  for (const { name, needsSandbox, run } of [...runCases, ...sessionCases, ...fileCases, ...grpcCases]) {
    const declare = needsSandbox && !hasSandbox ? test.skip : test
    declare(name, (t) => run(t, service))
  }
}
