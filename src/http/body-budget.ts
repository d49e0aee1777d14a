/** Bounds the memory of all request bodies together; the limit of each route bounds only one. */
import { Transform } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { SandboxError } from '../../proto/errors.ts'

/** Four of the largest: as bytes, as text and decoded they take about 1.4 GB at the worst moment. */
export const MAX_BODIES_BYTES = 384 * 1024 * 1024
/** Up to this a body is not counted: the connections bound those, and nearly all requests are that small. */
const SMALL_BODY_BYTES = 64 * 1024

export function boundBodies(app: FastifyInstance): void {
  let heldBytes = 0

  /** Counts `bytes` until the response is out. */
  function account(reply: { raw: NodeJS.EventEmitter }): (bytes: number) => void {
    let ownBytes = 0
    reply.raw.once('close', () => {
      heldBytes -= ownBytes
    })
    return (bytes) => {
      if (heldBytes + bytes > MAX_BODIES_BYTES) {
        throw new SandboxError('too_many_runs', 'Too many large request bodies are under way.')
      }
      heldBytes += bytes
      ownBytes += bytes
    }
  }

  app.addHook('preParsing', (request, reply, payload, done) => {
    if (request.headers['transfer-encoding'] !== undefined) {
      done(null, counted(payload, account(reply)))
      return
    }
    const bytes = Number(request.headers['content-length'] ?? 0)
    // What is over the route's own limit is refused unread.
    if (bytes > SMALL_BODY_BYTES && bytes <= request.routeOptions.bodyLimit) account(reply)(bytes)
    done(null, payload)
  })
}

/** A chunked body does not say how long it will be. */
function counted(payload: NodeJS.ReadableStream, hold: (bytes: number) => void): Transform {
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        hold(chunk.length)
        done(null, chunk)
      } catch (error) {
        done(error as Error)
      }
    },
  })
  payload.on('error', (error) => counter.destroy(error))
  return payload.pipe(counter)
}
