import type { Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { SandboxError } from '../../proto/errors.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import { InFlight, withinGrace } from '../in-flight.ts'
import { requestIdFrom } from '../request-id.ts'
import { acceptJson, BODY_LIMIT_BYTES } from './body.ts'
import { boundBodies } from './body-budget.ts'
import { fileRoutes } from './files.ts'
import { healthRoutes } from './health.ts'
import { collectMethods, refuseOtherMethods } from './method-not-allowed.ts'
import { problemSender, refuseConnection } from './problem.ts'
import { runRoutes } from './run.ts'
import { sessionRoutes } from './sessions.ts'

/** A client that takes longer over its headers is slow on purpose. */
const HEADERS_TIMEOUT_MS = 15_000
/** To send a whole request: the largest body at 6 Mbit/s. The wait for the answer is not counted. */
const REQUEST_TIMEOUT_MS = 120_000
/** Longer than the 60 s after which common load balancers drop an idle connection, so that they are the ones to close. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000
/** How often the two timeouts above are looked after. */
const TIMEOUT_CHECK_INTERVAL_MS = 5_000
/** Notices, while a run is under way, that the client's machine is gone. */
const TCP_KEEP_ALIVE_DELAY_MS = 30_000
/** Request line and headers together. */
const MAX_HEADER_BYTES = 16 * 1024
/** Each costs a descriptor and some 10 KB; beyond, new ones are refused. */
const MAX_CONNECTIONS = 10_000

export interface HttpOptions {
  client: SandboxClient
  log: Logger
  host: string
  /** 0 picks a free one. */
  port: number
  /** Of OpenSandbox, for `/health?verbose`. */
  version: string
}

export interface HttpServer {
  address: AddressInfo
  /** Takes no new requests, answers those under way, and cuts off what is left after `graceMs`. Again, to hurry. */
  stop(graceMs: number): Promise<void>
}

export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  let stopping = false
  const app = createApp(options, () => stopping)
  const inFlight = responsesOf(app.server)
  await app.listen({ host: options.host, port: options.port })

  async function stop(graceMs: number): Promise<void> {
    stopping = true
    // A kept-alive connection would hold the server open.
    for (const response of inFlight) if (!response.headersSent) response.setHeader('connection', 'close')
    const closed = app.close()
    await withinGrace(inFlight.empty(), graceMs)
    // Also the connections on which no request ever came; those wait in vain, and `close` would wait with them.
    app.server.closeAllConnections()
    await closed
  }
  return { address: app.server.address() as AddressInfo, stop }
}

function responsesOf(server: Server): InFlight<ServerResponse> {
  const inFlight = new InFlight<ServerResponse>()
  server.on('request', (_request, response: ServerResponse) => {
    inFlight.add(response)
    response.once('close', () => inFlight.delete(response))
  })
  return inFlight
}

/** The application without a listener. `stopping` is asked for every request. */
export function createApp(
  { client, log, version }: Omit<HttpOptions, 'host' | 'port'>,
  stopping = () => false,
) {
  const sendProblem = problemSender(log)
  const app: FastifyInstance = Fastify({
    genReqId: (request) => requestIdFrom(request.headers['x-request-id']),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    // No connectionTimeout: a connection is silent for as long as its run takes.
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_DELAY_MS,
    },
    forceCloseConnections: 'idle',
    // Our own answer while stopping is a problem document.
    return503OnClosing: false,
    frameworkErrors: sendProblem,
    clientErrorHandler: refuseConnection,
  })
  app.server.maxConnections = MAX_CONNECTIONS

  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    if (!stopping()) return done()
    reply.header('connection', 'close')
    done(new SandboxError('stopping', 'The service is stopping; another instance or a later try may answer.'))
  })
  if (log.isLevelEnabled('debug')) logRequests(app, log)

  boundBodies(app)
  acceptJson(app)
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request) => {
    throw new SandboxError('route_not_found', `${request.method} ${request.url} is not a route.`)
  })
  const methodsByUrl = collectMethods(app)
  healthRoutes(app, client, version)
  runRoutes(app, client)
  sessionRoutes(app, client)
  fileRoutes(app, client)
  refuseOtherMethods(app, new Map(methodsByUrl))
  return app
}

function logRequests(app: FastifyInstance, log: Logger): void {
  app.addHook('onResponse', (request, reply, done) => {
    const { id, method, url } = request
    log.debug(
      { request_id: id, method, url, status: reply.statusCode, ms: reply.elapsedTime },
      'http request',
    )
    done()
  })
}
