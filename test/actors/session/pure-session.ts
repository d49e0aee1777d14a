/** A session that runs nothing: each step is a pure transition, and what it would do is there to look at. */
import { initialTransition, type SnapshotFrom, transition } from 'xstate'
import type { Outcome } from '../../../actors/session/command.ts'
import { COMMANDS } from '../../../actors/session/commands/registry.ts'
import type { SessionContext, SessionInput } from '../../../actors/session/context.ts'
import type { SessionEvent } from '../../../actors/session/events.ts'
import { sessionMachine } from '../../../actors/session/machine.ts'
import type { JournalEntry, Reply } from '../../../actors/session/outside.ts'
import type { SandboxError } from '../../../proto/errors.ts'

/** Arguments with which each verb is accepted. */
export const GOOD_ARGS: Record<string, unknown> = {
  run: { command: ['true'] },
  set_env: { env: { A: 'b' } },
  set_cwd: { cwd: '/tmp' },
  get: {},
  delete: {},
  expire: {},
  files_write: { path: '/a' },
  files_write_bulk: { files: [] },
  files_read: { path: '/a' },
  files_list: { path: '/' },
}
export const VERBS = [...COMMANDS.keys()]

interface Done {
  type: string
  params: unknown
}

export class PureSession {
  #snapshot: SnapshotFrom<typeof sessionMachine>
  #done: Done[] = []
  #ids = 0
  at = 1_000_000

  constructor(input: Partial<SessionInput> = {}) {
    const [snapshot, actions] = initialTransition(sessionMachine, {
      sessionId: 's1',
      tenant: 'default',
      workerId: 'w1',
      previewUrl: null,
      createdBy: { commandId: 'create', requestId: 'r0', actor: 'http' },
      args: {},
      at: this.at,
      ...input,
    })
    this.#snapshot = snapshot
    this.#note(actions)
  }

  static ready(input: Partial<SessionInput> = {}): PureSession {
    const session = new PureSession(input)
    session.acquired()
    session.take()
    return session
  }

  #note(actions: readonly { type: string; params?: unknown }[]): void {
    this.#done.push(...actions.map(({ type, params }) => ({ type, params })))
  }

  send(event: SessionEvent): void {
    const [snapshot, actions] = transition(sessionMachine, this.#snapshot, event)
    this.#snapshot = snapshot
    this.#note(actions)
  }

  acquired(failure: SandboxError | null = null): void {
    this.send({ type: 'acquired', failure, at: this.at })
  }

  destroyed(failure: SandboxError | null = null): void {
    this.send({ type: 'destroyed', failure, at: this.at })
  }

  /** Returns the command's id. */
  command(verb: string, args: unknown = GOOD_ARGS[verb]): string {
    this.#ids += 1
    const id = `c${this.#ids}`
    const body = new Uint8Array(0)
    this.send({
      type: 'command',
      verb,
      request: { id, args, body, at: this.at, requestId: `r${this.#ids}`, actor: 'http' },
    })
    return id
  }

  /** How a command is answered at once. Forgets what was done before. */
  answer(verb: string): string | undefined {
    const id = this.command(verb)
    return answerTo(this.take(), id)
  }

  finish(commandId: string, outcome: Outcome = { value: {} }): void {
    this.send({ type: 'finished', commandId, outcome, at: this.at })
  }

  deadline(): void {
    this.send({ type: 'deadline', at: this.at })
  }

  get state(): string {
    const { value } = this.#snapshot
    return typeof value === 'string' ? value : Object.entries(value).flat().join('.')
  }
  get context(): SessionContext {
    return this.#snapshot.context
  }
  get status(): string {
    return this.#snapshot.status
  }

  /** What was to be done since the last time, and forgets it. */
  take(): Done[] {
    const done = this.#done
    this.#done = []
    return done
  }
}

export const ofType = <T>(done: Done[], type: string): T[] =>
  done.filter((one) => one.type === type).map(({ params }) => params as T)
export const replies = (done: Done[]): Reply[] => ofType<Reply>(done, 'reply')
export const records = (done: Done[]): JournalEntry[] => ofType<JournalEntry>(done, 'record')

/** How a command was answered: `ok`, or the code of its error; undefined while it was not. */
export function answerTo(done: Done[], commandId: string): string | undefined {
  const reply = replies(done).find((one) => one.commandId === commandId)
  if (reply === undefined) return undefined
  return 'error' in reply.result ? reply.result.error.code : 'ok'
}
