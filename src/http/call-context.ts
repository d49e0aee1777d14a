import type { FastifyReply, FastifyRequest } from 'fastify'
import { DEFAULT_TENANT } from '../../proto/subjects.ts'
import type { CallContext } from '../bus/sandbox-client.ts'

/** Who asks, and a signal that aborts when the client hangs up before it has its answer. */
export function callContext(request: FastifyRequest, reply: FastifyReply): CallContext {
  const hangUp = new AbortController()
  // Of the response, not of the request: a request "closes" as soon as its body is read.
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) hangUp.abort()
  })
  return { tenant: DEFAULT_TENANT, requestId: request.id, actor: 'http', signal: hangUp.signal }
}
