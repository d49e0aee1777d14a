/** The HTTP front-end for one test, with and without a listener, and raw connections to it. */
import { connect, type Socket } from 'node:net'
import { createApp, type HttpServer, startHttp } from '../../src/http/server.ts'
import { type FakeClient, fakeClient, silent } from './fake-client.ts'

export function app(fake: FakeClient = fakeClient()) {
  return createApp({ client: fake.client, log: silent, version: '0.0.0' })
}

export function listen(fake: FakeClient): Promise<HttpServer> {
  return startHttp({ client: fake.client, log: silent, version: '0.0.0', host: '127.0.0.1', port: 0 })
}

/** Sends raw bytes; everything that came back until the server closed. */
export async function exchange(server: HttpServer, sent: string): Promise<string> {
  const socket = await connected(server)
  socket.write(sent)
  const chunks = await socket.toArray()
  return Buffer.concat(chunks).toString()
}

export function connected(server: HttpServer): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.address.port, '127.0.0.1', () => resolve(socket))
    socket.on('error', reject)
  })
}

export function runText(extra = ''): string {
  const body = '{"command":["true"]}'
  return `POST /run HTTP/1.1\r\nhost: x\r\n${extra}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}
