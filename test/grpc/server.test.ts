/** Standard services beside ours: health and reflection, asked by real clients. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import {
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import test, { type ExecutionContext } from 'ava'
import { protoPath as healthProtoPath } from 'grpc-health-check'
import descriptor from 'protobufjs/ext/descriptor/index.js'
import { startGrpc } from '../../src/grpc/server.ts'
import { fakeClient, silent } from '../http/fake-client.ts'
import { grpcClient, type Message } from './grpc-client.ts'

async function serve(t: ExecutionContext) {
  const server = await startGrpc({ client: fakeClient().client, log: silent, host: '127.0.0.1', port: 0 })
  t.teardown(() => server.stop(0))
  return { server, address: `127.0.0.1:${server.address.port}` }
}

test('health: the server and the service are serving, others are unknown', async (t) => {
  const { address } = await serve(t)
  const health = grpcClient(address, 'grpc.health.v1.Health', healthProtoPath)
  t.teardown(() => health.close())
  for (const service of ['', 'sandbox.SandboxService']) {
    t.deepEqual((await health.call('Check', { service })).response, { status: 'SERVING' })
  }
  await t.throwsAsync(health.call('Check', { service: 'no.Such' }), { code: 5 } as object)
})

test('health: somebody who watches hears of the stop and does not hold it up', async (t) => {
  const { server, address } = await serve(t)
  const definition = loadSync(healthProtoPath, { enums: String })
  const { Health } = (loadPackageDefinition(definition) as never as { grpc: { health: { v1: GrpcObject } } })
    .grpc.health.v1
  const stub = new (Health as ServiceClientConstructor)(address, credentials.createInsecure())
  t.teardown(() => stub.close())
  const seen: string[] = []
  const watch = stub.Watch?.bind(stub)({ service: '' }) as unknown as NodeJS.ReadableStream
  watch.on('error', () => {})
  await new Promise<void>((resolve) => {
    watch.on('data', ({ status }: { status: string }) => {
      seen.push(status)
      resolve()
    })
  })
  const started = performance.now()
  await server.stop(5_000)
  t.true(performance.now() - started < 2_000)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.deepEqual(seen, ['SERVING', 'NOT_SERVING'])
})

const reflectionProtos = join(
  dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json')),
  'build/proto/grpc/reflection',
)

for (const version of ['v1', 'v1alpha']) {
  test(`reflection ${version}: lists the services and describes ours completely`, async (t) => {
    const { address } = await serve(t)
    const ask = reflectionClient(t, address, version)

    const { list_services_response } = await ask({ list_services: '*' })
    const names = (list_services_response as { service: { name: string }[] }).service.map(({ name }) => name)
    t.deepEqual(names.sort(), ['grpc.health.v1.Health', 'sandbox.SandboxService'])

    const { file_descriptor_response } = await ask({ file_containing_symbol: 'sandbox.SandboxService' })
    const { file_descriptor_proto } = file_descriptor_response as { file_descriptor_proto: Buffer[] }
    const file = file_descriptor_proto.map(
      (bytes) => descriptor.FileDescriptorProto.decode(bytes) as descriptor.IFileDescriptorProto,
    )
    const ours = file.find((candidate) => candidate.package === 'sandbox')
    const service = ours?.service?.find((candidate) => candidate.name === 'SandboxService')
    t.deepEqual(
      service?.method?.map((method) => method.name),
      ['RunCommand', 'WriteFile', 'WriteFiles', 'ReadFile', 'SetEnv', 'SetCwd'],
    )
    const run = ours?.messageType?.find((candidate) => candidate.name === 'RunCommandRequest')
    t.deepEqual(
      run?.field?.map((field) => `${field.name} ${field.number}`),
      [
        'session_id 1',
        'command 2',
        'time_ms 3',
        'mem_kb 4',
        'fsize_kb 5',
        'nofile 6',
        'env 7',
        'cwd 8',
        'wall_ms 101',
        'pids 102',
        'output_limit_bytes 103',
        'stdin 104',
      ],
    )
    // Without this mark a client takes the map for a list of messages.
    t.is(run?.nestedType?.[0]?.options?.mapEntry, true)
  })
}

function reflectionClient(t: ExecutionContext, address: string, version: string) {
  const definition = loadSync(join(reflectionProtos, version, 'reflection.proto'), { keepCase: true })
  const scope = loadPackageDefinition(definition) as never as {
    grpc: { reflection: Record<string, GrpcObject> }
  }
  const { ServerReflection } = scope.grpc.reflection[version] as GrpcObject
  const stub = new (ServerReflection as ServiceClientConstructor)(address, credentials.createInsecure())
  t.teardown(() => stub.close())
  return (request: Message) =>
    new Promise<Message>((resolve, reject) => {
      const stream = stub.ServerReflectionInfo?.bind(stub)() as unknown as NodeJS.ReadWriteStream
      stream.on('data', resolve)
      stream.on('error', reject)
      stream.write(request as never)
      stream.end()
    })
}

test('a port in use is an error', async (t) => {
  const { server } = await serve(t)
  const again = startGrpc({
    client: fakeClient().client,
    log: silent,
    host: '127.0.0.1',
    port: server.address.port,
  })
  await t.throwsAsync(again, { message: /EADDRINUSE/ })
})
