import { SandboxError } from '../../proto/errors.ts'

export interface RoomLimits {
  /** Sessions and one-shot runs, those being destroyed included: each holds a sandbox. */
  maxSessions: number
  /** Commands that run at once in all of them together. */
  maxRunning: number
}

/** Counts what a worker holds and runs, and says what it has room for. */
export class Room {
  #sessions = 0
  #running = 0
  readonly #waiting = new Set<() => void>()

  constructor(
    readonly limits: RoomLimits,
    readonly onChange: () => void,
  ) {}

  get sessions(): number {
    return this.#sessions
  }
  get running(): number {
    return this.#running
  }
  get forSession(): boolean {
    return this.#sessions < this.limits.maxSessions
  }
  get forOneShot(): boolean {
    return this.forSession && this.#running < this.limits.maxRunning
  }

  /** Returns what gives the place back. Throws `no_worker`: a request may arrive just before the worker leaves its group. */
  takeSession(): () => void {
    if (!this.forSession) throw new SandboxError('no_worker', 'The worker has no room for another session.')
    this.#sessions += 1
    this.#changed()
    return this.#giveBack(() => {
      this.#sessions -= 1
    })
  }

  /** Returns what gives the place back. Throws `too_many_runs`. */
  takeRun(): () => void {
    if (this.#running >= this.limits.maxRunning) {
      throw new SandboxError('too_many_runs', `The worker already runs ${this.limits.maxRunning} commands.`)
    }
    this.#running += 1
    this.#changed()
    return this.#giveBack(() => {
      this.#running -= 1
    })
  }

  /** Resolves when `condition` holds. */
  async until(condition: (room: Room) => boolean): Promise<void> {
    while (!condition(this)) {
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve)
      })
    }
  }

  #giveBack(subtract: () => void): () => void {
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      subtract()
      this.#changed()
    }
  }

  #changed(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
    this.onChange()
  }
}
