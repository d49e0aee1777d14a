/** Request bodies: JSON objects, or nothing. */
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { MAX_ARGUMENT_BYTES, MAX_FILE_BYTES } from '../../proto/limits.ts'

/** argv, environment and metadata in JSON, where an escape (`\u0001`) takes up to six bytes for one. */
export const BODY_LIMIT_BYTES = 6 * MAX_ARGUMENT_BYTES
/** One file or stdin of the largest size in base64, and the rest of the request beside it. */
export const CONTENT_BODY_LIMIT_BYTES = Math.ceil((MAX_FILE_BYTES * 4) / 3) + BODY_LIMIT_BYTES

export type Fields = Record<string, unknown>

export function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJson(body as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })
  // Clients send a content type out of habit with requests that have no body (DELETE, POST /sessions).
  app.addContentTypeParser('*', (request, _payload, done) => {
    if (hasBody(request)) done(mediaTypeRefused(request))
    else done(null, undefined)
  })
}

/** The body's fields. A `null` counts as not given, as it does for the worker, which sees most of them. */
export function bodyFields(request: FastifyRequest): Fields {
  const { body } = request
  return body === undefined ? {} : objectOf('body', body)
}

export function objectOf(field: string, value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(field, 'must be a JSON object')
  }
  return value as Fields
}

/** For what the bus has no place for; other fields that nobody knows are refused by the worker. */
export function refuseFields(fields: Fields, prefix = ''): void {
  for (const name of Object.keys(fields)) throw invalid(`${prefix}${name}`, 'is not a known field')
}

function parseJson(body: Buffer): unknown {
  if (body.length === 0) return undefined
  if (!isUtf8(body)) throw invalid('body', 'not valid UTF-8')
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    // V8's message quotes the text around the mistake, which may be somebody's secret.
    throw new SandboxError('invalid_argument', 'body: not valid JSON', { field: 'body', cause: error })
  }
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function mediaTypeRefused({ headers }: FastifyRequest): SandboxError {
  const given = headers['content-type'] ?? 'none given'
  return new SandboxError('unsupported_media_type', `content-type: must be application/json (${given})`, {
    field: 'content-type',
  })
}
