import test from 'ava'
import { grpcClient } from '../grpc/grpc-client.ts'
import { fileCases } from './file-cases.ts'
import { grpcCases } from './grpc-cases.ts'
import { startModel } from './model.ts'
import { runCases } from './run-cases.ts'
import type { Service } from './service.ts'
import { sessionCases } from './session-cases.ts'

const cases = [...runCases, ...sessionCases, ...fileCases, ...grpcCases]

let service: Service
let stop: () => Promise<void>

test.before(async () => {
  const model = await startModel()
  service = { url: model.url, grpc: grpcClient(model.grpcAddress) }
  stop = model.stop
})

test.after.always(async () => {
  service?.grpc.close()
  await stop?.()
})

for (const { name, needsSandbox, run } of cases) {
  const declare = needsSandbox ? test.skip : test
  declare(name, (t) => run(t, service))
}
