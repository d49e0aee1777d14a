/**
 * Sandboxes made ahead of need. Each is handed out once and never comes back: what a used one has been through
 * (IPC objects, abstract sockets, files) could not be undone with certainty.
 *
 * Making one takes about as much processor time as a short command, so when to make them is most of the art: not
 * while a command of the one just handed out runs, which would make that command slower. The pool therefore refills
 * in the pauses; under steady demand, when there are none, it lets its stock fall to a reserve and refills from there.
 */
import { setTimeout as delay } from 'node:timers/promises'

/** Makes in flight at once. The engine does them one after another; a second one hides the way between. */
const MAX_CONCURRENT_MAKES = 2
/** A pause in demand: longer than a short command takes, shorter than anybody's typing. */
const PAUSE_MS = 5
/** After a failed make; doubles up to the maximum, so that a broken host is neither hammered nor given up on. */
const BACKOFF_MIN_MS = 100
const BACKOFF_MAX_MS = 30_000

export interface Pooled {
  /** Ended by itself, so useless. */
  readonly isLost: boolean
  destroy(): Promise<void>
}

export interface PoolOptions<T extends Pooled> {
  /** How many are kept ready; 0 = none, every one is made on demand. */
  size: number
  make: () => Promise<T>
  /** Told of failures that no caller waits for. */
  onError: (error: unknown) => void
}

interface Waiter<T> {
  resolve: (made: T) => void
  reject: (error: unknown) => void
}

export class Pool<T extends Pooled> {
  readonly #options: PoolOptions<T>
  readonly #reserve: number
  readonly #ready: T[] = []
  /** Callers that found nothing ready. As many as the worker has room for at most: it admits no more. */
  readonly #waiters: Waiter<T>[] = []
  readonly #making = new Set<Promise<void>>()
  #pause: NodeJS.Timeout | undefined
  #quiet = true
  #backoffMs = 0
  #retryAt = 0
  #stopped = false

  constructor(options: PoolOptions<T>) {
    this.#options = options
    this.#reserve = Math.ceil(options.size / 2)
  }

  /** Sandboxes that are ready now. */
  get readyCount(): number {
    return this.#ready.length
  }

  /** Fills the pool; resolves when it is full or a make has failed (which `onError` is told). */
  async start(): Promise<void> {
    this.#step()
    while (this.#making.size > 0 && !this.#isBackingOff()) await Promise.race(this.#making)
  }

  /** One that nobody has used. Rejects with what `make` fails with. */
  acquire(): Promise<T> {
    if (this.#stopped) return Promise.reject(new Error('the pool has stopped'))
    this.#noteDemand()
    for (let ready = this.#ready.shift(); ready !== undefined; ready = this.#ready.shift()) {
      if (!ready.isLost) {
        this.#step()
        return Promise.resolve(ready)
      }
      this.#discard(ready)
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      this.#step()
    })
  }

  /** Makes no more; resolves when all that were not handed out are gone. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#pause)
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error('the pool has stopped'))
    await Promise.all(this.#making)
    await Promise.all(this.#ready.splice(0).map((ready) => this.#discard(ready)))
  }

  #noteDemand(): void {
    this.#quiet = false
    clearTimeout(this.#pause)
    this.#pause = setTimeout(() => {
      this.#quiet = true
      this.#step()
    }, PAUSE_MS)
    this.#pause.unref()
  }

  /** Starts as many makes as are wanted now. */
  #step(): void {
    while (!this.#stopped && this.#making.size < MAX_CONCURRENT_MAKES && this.#wanted() > this.#making.size) {
      const make = this.#make().finally(() => {
        this.#making.delete(make)
        this.#step()
      })
      this.#making.add(make)
    }
  }

  #wanted(): number {
    if (this.#waiters.length > 0) return this.#waiters.length
    if (this.#isBackingOff()) return 0
    const target = this.#quiet ? this.#options.size : this.#reserve
    return target - this.#ready.length
  }

  async #make(): Promise<void> {
    try {
      const made = await this.#options.make()
      this.#backoffMs = 0
      await this.#put(made)
    } catch (error) {
      this.#backOff()
      const waiter = this.#waiters.shift()
      if (waiter !== undefined) waiter.reject(error)
      else this.#options.onError(error)
    }
  }

  async #put(made: T): Promise<void> {
    if (this.#stopped) return this.#discard(made)
    const waiter = this.#waiters.shift()
    if (waiter !== undefined) waiter.resolve(made)
    else this.#ready.push(made)
  }

  async #discard(unused: T): Promise<void> {
    await unused.destroy().catch(this.#options.onError)
  }

  #isBackingOff(): boolean {
    return this.#backoffMs > 0 && performance.now() < this.#retryAt
  }

  #backOff(): void {
    this.#backoffMs = Math.min(Math.max(2 * this.#backoffMs, BACKOFF_MIN_MS), BACKOFF_MAX_MS)
    this.#retryAt = performance.now() + this.#backoffMs
    // A millisecond more, because a timer may fire a fraction early and must not find the time not yet come.
    void delay(this.#backoffMs + 1, undefined, { ref: false }).then(() => this.#step())
  }
}
