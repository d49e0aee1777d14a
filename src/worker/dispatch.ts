/**
 * Where every request of the bus enters, whoever sent it: taken apart, validated, admitted, carried out. HTTP and gRPC
 * front-ends and programs that publish themselves all meet the same checks here.
 */
import { checkEnv, checkMetadata } from '../../actors/arguments.ts'
import type { AnyCommand, ArgsOf } from '../../actors/session/command.ts'
import { COMMANDS } from '../../actors/session/commands/registry.ts'
import { run } from '../../actors/session/commands/run.ts'
import { validate } from '../../actors/validate.ts'
import { invalid, SandboxError } from '../../proto/errors.ts'
import { type CreateArgs, CreateArgsSchema, NoArgsSchema } from '../../proto/session.ts'
import { parseSubject } from '../../proto/subjects.ts'
import type { Answer, Handler, IncomingRequest } from '../bus/api.ts'
import type { Log } from './log.ts'
import type { OneShots } from './one-shots.ts'
import type { Room } from './room.ts'
import type { Sessions } from './sessions.ts'

export interface DispatchOptions {
  sessions: Sessions
  oneShots: OneShots
  room: Room
  log: Log
  /** Idle time of sessions that ask for none; that of the contract where undefined. */
  defaultTtlSecs?: number
  /** Whether sessions may use the host's network. */
  allowHostNetwork: boolean
  isStopping: () => boolean
}

const NO_BODY = new Uint8Array(0)

export class Dispatch {
  readonly #options: DispatchOptions

  constructor(options: DispatchOptions) {
    this.#options = options
  }

  /** osb.v1.ctl.<tenant>.create */
  readonly create: Handler = this.#answering(async (request) => {
    const { sessions, room } = this.#options
    const { tenant } = partsOf(request)
    const args = this.#createArgs(request.args)
    this.#refuseIfStopping()
    const giveBack = room.takeSession()
    return sessions.create(tenant, args, originOf(request), request.signal, giveBack)
  })

  /** osb.v1.ctl.<tenant>.run */
  readonly runOnce: Handler = this.#answering(async (request) => {
    const { oneShots, room } = this.#options
    const { tenant } = partsOf(request)
    const { args, body } = await checked(run, request)
    this.#refuseIfStopping()
    return this.#running(() => {
      const giveBack = room.takeSession()
      return oneShots.run(tenant, { args, stdin: body, ...originOf(request) }, request.signal, giveBack)
    })
  })

  /** osb.v1.cmd.<tenant>.<session>.<verb> */
  readonly command: Handler = this.#answering(async (request) => {
    const { tenant, sessionId = '', verb } = partsOf(request)
    const command = COMMANDS.get(verb)
    if (command === undefined) throw invalid('verb', `there is no command ${JSON.stringify(verb)}`)
    const { args, body } = await checked(command, request)
    // A signal costs more to make than a command like `get` to answer, so it is asked for only where it is of use.
    const signal = command.cancellable === true ? request.signal : undefined
    const send = () =>
      this.#options.sessions.command(tenant, sessionId, verb, { args, body, ...originOf(request) }, signal)
    // A stopping worker still answers what is asked about its sessions, and ends them.
    if (command.activity) this.#refuseIfStopping()
    return 'prepare' in command ? this.#running(send) : send()
  })

  /** osb.v1.list.<tenant> */
  readonly list: Handler = this.#answering(async (request) => {
    validate(NoArgsSchema, request.args)
    return { value: this.#options.sessions.list(partsOf(request).tenant), body: NO_BODY }
  })

  async #running(work: () => Promise<Answer>): Promise<Answer> {
    const giveBack = this.#options.room.takeRun()
    try {
      return await work()
    } finally {
      giveBack()
    }
  }

  #createArgs(given: unknown): CreateArgs {
    const args = validate(CreateArgsSchema, given)
    if (args.env !== undefined) checkEnv(args.env)
    if (args.metadata !== undefined) checkMetadata(args.metadata)
    if (args.network === 'host' && !this.#options.allowHostNetwork) {
      throw invalid('network', 'the host network is not allowed here')
    }
    const { defaultTtlSecs } = this.#options
    return defaultTtlSecs === undefined ? args : { ttl_secs: defaultTtlSecs, ...args }
  }

  #refuseIfStopping(): void {
    if (this.#options.isStopping()) throw new SandboxError('stopping', 'The worker is stopping.')
  }

  /** Turns whatever is thrown into an error that callers may see; what they may not see goes to the log. */
  #answering(handle: Handler): Handler {
    return async (request) => {
      try {
        return await handle(request)
      } catch (thrown) {
        const error = SandboxError.from(thrown)
        const { subject, requestId } = request
        if (error.kind.http === 500) {
          this.#options.log.error({ err: error.cause ?? error, subject, requestId }, error.message)
        }
        throw error
      }
    }
  }
}

function partsOf({ subject }: IncomingRequest): NonNullable<ReturnType<typeof parseSubject>> {
  const parts = parseSubject(subject)
  if (parts === undefined) throw new SandboxError('internal', `unexpected subject ${subject}`)
  return parts
}

function originOf({ requestId, actor }: IncomingRequest): { requestId: string; actor: string } {
  return { requestId, actor }
}

/** Arguments and body of a request, valid as far as can be told without its session. */
async function checked<C extends AnyCommand>(
  command: C,
  request: IncomingRequest,
): Promise<{ args: ArgsOf<C>; body: Uint8Array }> {
  const args = validate(command.schema, request.args) as ArgsOf<C>
  command.check?.(args)
  const body = await request.body(command.maxBodyBytes ?? 0)
  command.checkBody?.(args, body)
  return { args, body }
}
