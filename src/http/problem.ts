/** Every error of the HTTP front-end leaves as a problem document (RFC 9457). */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { newRequestId } from '../request-id.ts'

export const PROBLEM_CONTENT_TYPE = 'application/problem+json'

const REFUSES_UPLOAD: ReadonlySet<string> = new Set(['payload_too_large', 'too_many_runs'])

type ErrorHandler = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void

export function problemSender(log: Logger): ErrorHandler {
  return (thrown, request, reply) => {
    const error = translate(thrown)
    logFailure(log, error, request)
    if (error.kind.retryAfterSecs !== undefined)
      reply.header('retry-after', String(error.kind.retryAfterSecs))
    // fastify closes the connection under an upload that it refuses, and the client would see a reset in place of
    // the answer. Kept open, Node reads the rest away, for REQUEST_TIMEOUT_MS at most.
    if (REFUSES_UPLOAD.has(error.code)) {
      reply.removeHeader('connection')
      request.raw.resume()
    }
    reply
      .code(error.kind.http)
      .header('x-request-id', request.id)
      .header('content-type', PROBLEM_CONTENT_TYPE)
      // As bytes, because fastify adds a charset to JSON text, which problem documents do not have.
      .send(Buffer.from(JSON.stringify(error.toProblem(request.id))))
  }
}

function translate(thrown: unknown): SandboxError {
  const { code, message, statusCode } = thrown as { code?: string; message?: string; statusCode?: number }
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new SandboxError('payload_too_large', 'body: larger than this route takes', { field: 'body' })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new SandboxError('unsupported_media_type', 'content-type: must be application/json', {
        field: 'content-type',
      })
    case 'FST_ERR_BAD_URL':
      return invalid('url', 'not a valid percent-encoding')
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new SandboxError('session_not_found', 'No session has an id of that length.')
  }
  if (!(thrown instanceof SandboxError) && statusCode !== undefined && statusCode < 500) {
    return invalid('body', message ?? 'could not be read')
  }
  return SandboxError.from(thrown)
}

/** A caller's mistake is the caller's to see; of ours the caller gets only the request id. */
function logFailure(log: Logger, error: SandboxError, request: FastifyRequest): void {
  if (error.kind.http < 500) return
  const fields = { request_id: request.id, code: error.code, err: error.cause ?? error }
  if (error.kind.http === 500) log.error(fields, 'request failed')
  else log.warn(fields, 'request could not be served')
}

/** What Node could not read as HTTP: there is no request yet, so the answer is written by hand. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, detail] = unreadable(error.code)
  const requestId = newRequestId()
  const problem = { ...invalid('request', detail).toProblem(requestId), status }
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\nx-request-id: ${requestId}\r\n` +
      `content-type: ${PROBLEM_CONTENT_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
  // end() leaves a client that never reads in charge of the socket; destroySoon closes it once the answer is out.
  socket.destroySoon()
}

function unreadable(code: string | undefined): [status: number, detail: string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, 'not received in time']
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'headers too large']
  return [400, 'not valid HTTP']
}
