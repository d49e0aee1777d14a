import type { FastifyInstance } from 'fastify'
import type { CreateArgs, SessionInfo, SetCwdArgs, SetEnvArgs } from '../../proto/session.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import { bodyFields } from './body.ts'
import { callContext } from './call-context.ts'

interface OfSession {
  Params: { id: string }
}

export function sessionRoutes(app: FastifyInstance, client: SandboxClient): void {
  app.post('/sessions', (request, reply) =>
    client.createSession(callContext(request, reply), bodyFields(request) as CreateArgs),
  )

  app.get<{ Querystring: Record<string, unknown> }>('/sessions', async (request, reply) => {
    const sessions = await client.listSessions(callContext(request, reply))
    return sessions.filter(metadataMatcher(request.query))
  })

  app.get<OfSession>('/sessions/:id', (request, reply) =>
    client.getSession(callContext(request, reply), request.params.id),
  )

  app.delete<OfSession>('/sessions/:id', async (request, reply) => {
    await client.deleteSession(callContext(request, reply), request.params.id)
    return reply.code(204).send()
  })

  app.post<OfSession>('/sessions/:id/env', async (request, reply) => {
    await client.setEnv(callContext(request, reply), request.params.id, bodyFields(request) as SetEnvArgs)
    return { success: true }
  })

  app.post<OfSession>('/sessions/:id/cwd', async (request, reply) => {
    await client.setCwd(callContext(request, reply), request.params.id, bodyFields(request) as SetCwdArgs)
    return { success: true }
  })
}

const METADATA_PREFIX = 'metadata.'

/** `?metadata.key=value`: sessions that have every pair. */
function metadataMatcher(query: Record<string, unknown>): (session: SessionInfo) => boolean {
  const wanted = Object.entries(query)
    .filter(([name]) => name.startsWith(METADATA_PREFIX))
    // A key that is given twice comes as an array.
    .flatMap(([name, values]) =>
      [values].flat().map((value) => [name.slice(METADATA_PREFIX.length), value] as const),
    )
  return ({ metadata }) =>
    wanted.every(([key, value]) => Object.hasOwn(metadata, key) && metadata[key] === value)
}
