import type { FastifyInstance, FastifyRequest } from 'fastify'
import { invalid } from '../../proto/errors.ts'
import type { FileWriteArgs } from '../../proto/files.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { bodyFields, CONTENT_BODY_LIMIT_BYTES, objectOf, refuseFields } from './body.ts'
import { callContext } from './call-context.ts'

interface OfSession {
  Params: { id: string }
  Querystring: { path: string }
}

export function fileRoutes(app: FastifyInstance, client: SandboxClient): void {
  const options = { bodyLimit: CONTENT_BODY_LIMIT_BYTES }

  app.post<OfSession>('/sessions/:id/files/write', options, async (request, reply) => {
    const { content, ...args } = bodyFields(request)
    const bytes = decodeBase64('content', content)
    const { id } = request.params
    await client.writeFile(callContext(request, reply), id, args as FileWriteArgs, bytes)
    return { success: true }
  })

  app.post<OfSession>('/sessions/:id/files/write-bulk', options, (request, reply) =>
    client.writeFiles(callContext(request, reply), request.params.id, decodeFiles(request)),
  )

  app.get<OfSession>('/sessions/:id/files/read', async (request, reply) => {
    const { path } = request.query
    const content = await client.readFile(callContext(request, reply), request.params.id, { path })
    return { content: encodeBase64(content) }
  })

  app.get<OfSession>('/sessions/:id/files/list', (request, reply) => {
    const { path } = request.query
    return client.listFiles(callContext(request, reply), request.params.id, { path })
  })
}

function decodeFiles(request: FastifyRequest): { path: string; content: Uint8Array }[] {
  const { files, ...others } = bodyFields(request)
  refuseFields(others)
  if (!Array.isArray(files)) throw invalid('files', 'must be an array of {path, content}')
  return files.map((file: unknown, index) => {
    const { path, content, ...others } = objectOf(`files[${index}]`, file)
    refuseFields(others, `files[${index}].`)
    return { path: path as string, content: decodeBase64(`files[${index}].content`, content) }
  })
}
