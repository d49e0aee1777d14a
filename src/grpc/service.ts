import type { handleUnaryCall, ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js'
import type { Logger } from 'pino'
import { SandboxError } from '../../proto/errors.ts'
import { DEFAULT_TENANT } from '../../proto/subjects.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'
import type { InFlight } from '../in-flight.ts'
import { requestIdFrom } from '../request-id.ts'
import * as methods from './methods.ts'
import { requestMetadata, toServiceError } from './status.ts'

export function sandboxService(
  client: SandboxClient,
  log: Logger,
  calls: InFlight<object>,
): UntypedServiceImplementation {
  const unary = <Request, Response>(method: methods.Method<Request, Response>) =>
    unaryHandler(client, log, calls, method)
  return {
    RunCommand: unary(methods.runCommand),
    WriteFile: unary(methods.writeFile),
    WriteFiles: unary(methods.writeFiles),
    ReadFile: unary(methods.readFile),
    SetEnv: unary(methods.setEnv),
    SetCwd: unary(methods.setCwd),
  }
}

function unaryHandler<Request, Response>(
  client: SandboxClient,
  log: Logger,
  calls: InFlight<object>,
  method: methods.Method<Request, Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const requestId = requestIdFrom(call.metadata.get('x-request-id')[0])
    const hangUp = hangUpOf(call)
    const answered = () => {
      hangUp.answered()
      calls.delete(call)
    }
    calls.add(call)
    const context = { tenant: DEFAULT_TENANT, requestId, actor: 'grpc', signal: hangUp.signal }
    method(client, context, call.request).then(
      (response) => {
        answered()
        log.debug({ request_id: requestId, method: call.getPath() }, 'grpc call')
        callback(null, response, requestMetadata(requestId))
      },
      (thrown: unknown) => {
        answered()
        const error = SandboxError.from(thrown)
        logFailure(log, error, requestId, call.getPath())
        callback(toServiceError(error, requestId))
      },
    )
  }
}

/**
 * Aborts when the client cancels, goes away or its deadline passes before the answer.
 * grpc-js emits `cancelled` for each of these, but also after every call that ended well.
 */
function hangUpOf(call: ServerUnaryCall<unknown, unknown>): { signal: AbortSignal; answered(): void } {
  const controller = new AbortController()
  const abort = () => controller.abort()
  if (call.cancelled) abort()
  else call.once('cancelled', abort)
  return { signal: controller.signal, answered: () => call.removeListener('cancelled', abort) }
}

/** A caller's mistake is the caller's to see; of ours the caller gets only the request id. */
function logFailure(log: Logger, error: SandboxError, requestId: string, method: string): void {
  const fields = { request_id: requestId, method, code: error.code, err: error.cause ?? error }
  if (error.kind.http === 500) log.error(fields, 'call failed')
  else if (error.kind.http > 500) log.warn(fields, 'call could not be served')
  else log.debug({ request_id: requestId, method, code: error.code }, 'grpc call')
}
