/** The service under test as its clients see it: a base URL and a gRPC address, nothing of its inside. */
import type { ExecutionContext } from 'ava'
import type { CallSettings, GrpcClient, Message } from '../grpc/grpc-client.ts'

export interface Service {
  /** As `http://127.0.0.1:8080`. */
  url: string
  grpc: GrpcClient
}

export interface ContractCase {
  name: string
  /** Not to be asked of a model that has no isolation and no limits. */
  needsSandbox?: boolean
  run(t: ExecutionContext, service: Service): Promise<void>
}

export interface HttpAnswer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: what it holds is for the case to assert.
  json: any
}

export async function ask(
  service: Service,
  method: string,
  path: string,
  body?: unknown,
): Promise<HttpAnswer> {
  const sent =
    body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
  const response = await fetch(service.url + path, { method, ...sent })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json')
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson ? JSON.parse(text) : undefined,
  }
}

/** A session that is deleted at the end of the test. */
export async function newSession(t: ExecutionContext, service: Service, args: object = {}): Promise<string> {
  const created = await ask(service, 'POST', '/sessions', args)
  t.is(created.status, 200, created.text)
  t.teardown(() => ask(service, 'DELETE', `/sessions/${created.json.session_id}`))
  return created.json.session_id
}

/** The result of a command by HTTP, in a fresh sandbox or in `session`. */
export async function run(t: ExecutionContext, service: Service, args: object, session?: string) {
  const path = session === undefined ? '/run' : `/sessions/${session}/run`
  const answer = await ask(service, 'POST', path, args)
  t.is(answer.status, 200, answer.text)
  return answer.json
}

export function assertProblem(
  t: ExecutionContext,
  answer: HttpAnswer,
  status: number,
  expected: object,
): void {
  t.is(answer.status, status, answer.text)
  t.is(answer.headers.get('content-type'), 'application/problem+json')
  t.like(answer.json, { status, ...expected })
  t.is(answer.json.type, `urn:opensandbox:error:${answer.json.code}`)
  t.is(answer.json.request_id, answer.headers.get('x-request-id'))
  t.is(typeof answer.json.title, 'string')
  t.is(typeof answer.json.detail, 'string')
}

export async function call(service: Service, method: string, request: Message, settings?: CallSettings) {
  return (await service.grpc.call(method, request, settings)).response
}

export function base64(bytes: Uint8Array | string): string {
  return Buffer.from(bytes as Uint8Array).toString('base64')
}

/** Every byte value, in an order that is no text. */
export const ALL_BYTES = Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 167) % 256))
