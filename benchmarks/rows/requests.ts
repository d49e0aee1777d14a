/** One client, one request at a time, through the whole service. */
import { randomBytes } from 'node:crypto'
import { PROGRAM } from '../floor.ts'
import type { GrpcClient } from '../grpc-client.ts'
import type { HttpClient } from '../http-client.ts'
import { type Bench, latencyRow, type Row } from '../row.ts'

const COMMAND = [PROGRAM]
const FILE = randomBytes(1_024)
const FILE_PATH = '/tmp/bench/file'

async function http(bench: Bench, sample: (client: HttpClient) => Promise<void>) {
  const client = (await bench.service()).http()
  return { sample: () => sample(client), close: async () => client.close() }
}

/** `sample` gets a session of its own, for which `prepare` is called first. */
async function inSession(
  bench: Bench,
  sample: (clients: { http: HttpClient; grpc: GrpcClient }, sessionId: string) => Promise<void>,
  prepare: (grpc: GrpcClient, sessionId: string) => Promise<void> = async () => {},
) {
  const service = await bench.service()
  const clients = { http: service.http(), grpc: service.grpc() }
  const sessionId = await clients.http.createSession()
  await prepare(clients.grpc, sessionId)
  return {
    sample: () => sample(clients, sessionId),
    async close() {
      await clients.http.deleteSession(sessionId)
      clients.http.close()
      clients.grpc.close()
    },
  }
}

async function writeFile(grpc: GrpcClient, sessionId: string): Promise<void> {
  const request = { session_id: sessionId, path: FILE_PATH, content: FILE }
  const { success, error } = await grpc.call<{ success: boolean; error: string }>('WriteFile', request)
  if (!success) throw new Error(`WriteFile: ${error}`)
}

async function readFile(grpc: GrpcClient, sessionId: string): Promise<void> {
  const request = { session_id: sessionId, path: FILE_PATH }
  const { content, error } = await grpc.call<{ content: Buffer; error: string }>('ReadFile', request)
  if (!FILE.equals(content)) throw new Error(`ReadFile: ${error}`)
}

export const requestRows: Row[] = [
  latencyRow({
    key: 'grpc-run',
    title: 'gRPC: run in a session',
    ratioMax: 2,
    open: (bench) => inSession(bench, ({ grpc }, id) => grpc.run(id, COMMAND)),
  }),
  latencyRow({
    key: 'http-run',
    title: 'HTTP: run in a session',
    ratioMax: 2,
    open: (bench) => inSession(bench, ({ http }, id) => http.run(`/sessions/${id}/run`, COMMAND)),
  }),
  latencyRow({
    key: 'one-shot',
    title: 'HTTP: one-shot run, one after another',
    ratioMax: 2.5,
    open: (bench) => http(bench, (client) => client.run('/run', COMMAND)),
  }),
  latencyRow({
    key: 'one-shot-paused',
    title: 'HTTP: one-shot run, every 50 ms',
    ratioMax: 2.5,
    pauseMs: 50,
    open: (bench) => http(bench, (client) => client.run('/run', COMMAND)),
  }),
  latencyRow({
    key: 'create',
    title: 'HTTP: create a session',
    ratioMax: 1.5,
    async open(bench) {
      const client = (await bench.service()).http()
      const created: string[] = []
      return {
        async sample() {
          created.push(await client.createSession())
        },
        async close() {
          for (const id of created) await client.deleteSession(id)
          client.close()
        },
      }
    },
  }),
  latencyRow({
    key: 'file-write',
    title: 'gRPC: write a file of 1 KB',
    ratioMax: 1,
    open: (bench) => inSession(bench, ({ grpc }, id) => writeFile(grpc, id)),
  }),
  latencyRow({
    key: 'file-read',
    title: 'gRPC: read a file of 1 KB',
    ratioMax: 1,
    open: (bench) => inSession(bench, ({ grpc }, id) => readFile(grpc, id), writeFile),
  }),
]
