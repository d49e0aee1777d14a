/** Runs in a fresh sandbox each: no session, hence no actor, but the same command and the same events. */
import { randomUUID } from 'node:crypto'
import type { Sandbox, SandboxProvider } from '../../actors/ports.ts'
import { type AbortCause, isSuccess, type Prepared } from '../../actors/session/command.ts'
import { prepareRun } from '../../actors/session/commands/run.ts'
import type { Origin } from '../../actors/session/context.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { EventRecord } from '../../proto/events.ts'
import { DEFAULT_CWD } from '../../proto/limits.ts'
import type { RunArgs, RunMeta } from '../../proto/run.ts'
import type { Answer, EventLog } from '../bus/api.ts'
import { Journal } from './journal.ts'
import type { Log } from './log.ts'

export interface OneShotsOptions {
  source: string
  events: EventLog
  provider: SandboxProvider
  log: Log
  now: () => number
}

interface OneShotRequest extends Origin {
  args: RunArgs
  stdin: Uint8Array
}

const DEFAULTS = { env: {}, cwd: DEFAULT_CWD, limits: {} }

export class OneShots {
  readonly #running = new Set<AbortController>()
  readonly #flushing = new Set<Promise<void>>()
  readonly #options: OneShotsOptions

  constructor(options: OneShotsOptions) {
    this.#options = options
  }

  /** Answers with RunMeta and the output; `onGone` is called when the sandbox is gone, after the answer. */
  async run(
    tenant: string,
    { args, stdin, ...origin }: OneShotRequest,
    signal: AbortSignal,
    onGone: () => void,
  ): Promise<Answer> {
    const { now } = this.#options
    const id = randomUUID()
    const record = this.#recorder(id, tenant, origin)
    let sandbox: Sandbox | undefined
    try {
      const request = { id, args, body: stdin, at: now(), ...origin }
      const prepared = prepareRun(DEFAULTS, request, { oneShot: true })
      sandbox = await this.#options.provider.acquire({ network: 'none' })
      return await this.#perform(sandbox, prepared, signal, record)
    } finally {
      if (sandbox === undefined) onGone()
      else void this.#destroy(sandbox, onGone)
    }
  }

  abortAll(cause: AbortCause): void {
    for (const controller of this.#running) controller.abort(cause)
  }

  /** Resolves when all events recorded so far are in the stream. */
  async flushed(): Promise<void> {
    await Promise.all(this.#flushing)
  }

  async #perform(
    sandbox: Sandbox,
    prepared: Prepared<RunMeta>,
    signal: AbortSignal,
    record: (events: EventRecord[]) => Promise<void>,
  ): Promise<Answer> {
    const controller = new AbortController()
    const cancel = () => controller.abort('cancelled' satisfies AbortCause)
    signal.addEventListener('abort', cancel, { once: true })
    this.#running.add(controller)
    try {
      if (signal.aborted) cancel()
      const started = record(prepared.events ?? [])
      const outcome = await prepared.perform(sandbox, controller.signal)
      // The end may follow the answer, the beginning may not.
      void record(outcome.events ?? []).catch(() => {})
      await started
      if (!isSuccess(outcome)) throw outcome.error
      return { value: outcome.value, body: outcome.body ?? new Uint8Array(0) }
    } finally {
      this.#running.delete(controller)
      signal.removeEventListener('abort', cancel)
    }
  }

  /** Returns what records events, numbered from 1, and resolves when they are durable. */
  #recorder(sessionId: string, tenant: string, origin: Origin): (events: EventRecord[]) => Promise<void> {
    const { events: stream, log, source, now } = this.#options
    const journal = new Journal(stream, log, source)
    let sequence = 0
    return (events) => {
      for (const event of events) {
        sequence += 1
        journal.record({ sessionId, tenant, sequence, at: now(), origin, record: event })
      }
      const durable = journal.durable(sequence)
      const flushed: Promise<void> = durable.catch(() => {}).finally(() => this.#flushing.delete(flushed))
      this.#flushing.add(flushed)
      return durable
    }
  }

  async #destroy(sandbox: Sandbox, onGone: () => void): Promise<void> {
    try {
      await sandbox.destroy()
    } catch (thrown) {
      const error = SandboxError.from(thrown)
      this.#options.log.error({ err: thrown, sandbox: sandbox.id, code: error.code }, 'sandbox not destroyed')
    } finally {
      onGone()
    }
  }
}
