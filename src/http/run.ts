import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { invalid } from '../../proto/errors.ts'
import type { RunArgs, RunResult } from '../../proto/run.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import { decodeUtf8 } from '../utf8.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { bodyFields, CONTENT_BODY_LIMIT_BYTES } from './body.ts'
import { callContext } from './call-context.ts'

/** How bytes stand in JSON: stdin in the request, stdout and stderr in the result. */
type Encoding = 'utf8' | 'base64'

/**
 * Output above this is made into JSON stream by stream: in JSON a byte may take six characters, and a result with two
 * full streams would be longer than the longest string of V8 (2^29 - 24 characters).
 */
const SINGLE_STRING_OUTPUT_BYTES = 16 * 1024 * 1024

const LONE_SURROGATE = /\p{Surrogate}/u

export function runRoutes(app: FastifyInstance, client: SandboxClient): void {
  const options = { bodyLimit: CONTENT_BODY_LIMIT_BYTES }

  app.post('/run', options, async (request, reply) => {
    const { args, stdin, encoding } = decodeRun(request)
    return encodeRun(await client.runOnce(callContext(request, reply), args, stdin), encoding, reply)
  })

  app.post<{ Params: { id: string } }>('/sessions/:id/run', options, async (request, reply) => {
    const { args, stdin, encoding } = decodeRun(request)
    const result = await client.run(callContext(request, reply), request.params.id, args, stdin)
    return encodeRun(result, encoding, reply)
  })
}

function decodeRun(request: FastifyRequest): {
  args: RunArgs
  stdin: Uint8Array | undefined
  encoding: Encoding
} {
  const { stdin, encoding: given, ...args } = bodyFields(request)
  const encoding = given ?? 'utf8'
  if (encoding !== 'utf8' && encoding !== 'base64') throw invalid('encoding', "must be 'utf8' or 'base64'")
  // The worker checks the arguments, for callers on the bus too.
  return { args: args as RunArgs, stdin: decodeStdin(stdin, encoding), encoding }
}

function decodeStdin(stdin: unknown, encoding: Encoding): Uint8Array | undefined {
  if (stdin === undefined || stdin === null) return undefined
  if (encoding === 'base64') return decodeBase64('stdin', stdin)
  if (typeof stdin !== 'string') throw invalid('stdin', 'must be a string')
  // Half of a surrogate pair is no character; encoding it would change it.
  if (LONE_SURROGATE.test(stdin)) throw invalid('stdin', 'holds half of a surrogate pair')
  return Buffer.from(stdin, 'utf8')
}

function encodeRun(result: RunResult, encoding: Encoding, reply: FastifyReply): object {
  const text = encoding === 'base64' ? encodeBase64 : decodeUtf8
  const fields = {
    exit_code: result.exit_code,
    signal: result.signal,
    cause: result.cause,
    error: result.error,
    usage: result.usage,
    stdout_truncated: result.stdout_truncated,
    stderr_truncated: result.stderr_truncated,
    run_id: result.run_id,
  }
  if (result.stdout.length + result.stderr.length <= SINGLE_STRING_OUTPUT_BYTES) {
    return { stdout: text(result.stdout), stderr: text(result.stderr), ...fields }
  }
  reply.type('application/json; charset=utf-8')
  return Buffer.concat([
    Buffer.from('{"stdout":'),
    Buffer.from(JSON.stringify(text(result.stdout))),
    Buffer.from(',"stderr":'),
    Buffer.from(JSON.stringify(text(result.stderr))),
    Buffer.from(`,${JSON.stringify(fields).slice(1)}`),
  ])
}
