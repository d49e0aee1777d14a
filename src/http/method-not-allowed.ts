import type { FastifyInstance, HTTPMethods } from 'fastify'
import { SandboxError } from '../../proto/errors.ts'

const METHODS: HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** Answers 405 with `Allow` where a path exists but the method does not. Call after all routes are registered. */
export function refuseOtherMethods(app: FastifyInstance, methodsByUrl: Map<string, Set<string>>): void {
  for (const [url, methods] of methodsByUrl) {
    const allow = [...methods].sort().join(', ')
    app.route({
      url,
      method: METHODS.filter((method) => !methods.has(method)),
      // Before the body is read: what it holds does not matter.
      onRequest: (request, reply, done) => {
        reply.header('allow', allow)
        done(new SandboxError('method_not_allowed', `${request.method} is not served here; use ${allow}`))
      },
      handler: () => undefined,
    })
  }
}

/** Notes the methods of every route that is registered from now on. */
export function collectMethods(app: FastifyInstance): Map<string, Set<string>> {
  const methodsByUrl = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = methodsByUrl.get(url) ?? new Set()
    methodsByUrl.set(url, methods)
    for (const name of [method].flat()) methods.add(name)
  })
  return methodsByUrl
}
