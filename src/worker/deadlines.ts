/** One heap and one timer for the deadlines of all sessions: a timer each would cost more than the session's actor. */

interface Entry {
  key: string
  at: number
}

/** setTimeout fires at once for anything longer. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Each key has at most one deadline. Moving it to later, which every command of a session does, leaves the heap alone:
 * the old entry finds out when it comes up.
 */
export class Deadlines {
  readonly #heap: Entry[] = []
  /** What is wanted of each key. */
  readonly #wanted = new Map<string, number>()
  /** The earliest entry of each key in the heap; others of it are stale. */
  readonly #queued = new Map<string, number>()
  readonly #now: () => number
  readonly #onDue: (key: string) => void
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY

  constructor(options: { now: () => number; onDue: (key: string) => void }) {
    this.#now = options.now
    this.#onDue = options.onDue
  }

  /** Absolute ms; null for none. */
  set(key: string, at: number | null): void {
    if (at === null) {
      this.#wanted.delete(key)
      return
    }
    this.#wanted.set(key, at)
    const queuedAt = this.#queued.get(key)
    if (queuedAt !== undefined && queuedAt <= at) return
    this.#push({ key, at })
    this.#arm()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#heap.length = 0
    this.#wanted.clear()
    this.#queued.clear()
  }

  get size(): number {
    return this.#wanted.size
  }

  #arm(): void {
    const head = this.#heap[0]
    if (head === undefined || head.at === this.#timerAt) return
    clearTimeout(this.#timer)
    this.#timerAt = head.at
    const delayMs = Math.min(Math.max(head.at - this.#now(), 0), MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.#fire(), delayMs)
  }

  #fire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    const due: string[] = []
    const now = this.#now()
    for (let head = this.#heap[0]; head !== undefined && head.at <= now; head = this.#heap[0]) {
      this.#pop()
      if (this.#queued.get(head.key) !== head.at) continue
      this.#queued.delete(head.key)
      const wantedAt = this.#wanted.get(head.key)
      if (wantedAt === undefined) continue
      if (wantedAt > head.at) {
        // Back into the heap even if it is due too, so that all come in order of time.
        this.#push({ key: head.key, at: wantedAt })
      } else {
        this.#wanted.delete(head.key)
        due.push(head.key)
      }
    }
    for (const key of due) this.#onDue(key)
    this.#arm()
  }

  #push(entry: Entry): void {
    this.#queued.set(entry.key, entry.at)
    const heap = this.#heap
    let index = heap.length
    heap.push(entry)
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex] as Entry
      if (parent.at <= entry.at) break
      heap[index] = parent
      index = parentIndex
    }
    heap[index] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      let childIndex = 2 * index + 1
      if (childIndex >= heap.length) break
      const right = heap[childIndex + 1]
      if (right !== undefined && right.at < (heap[childIndex] as Entry).at) childIndex += 1
      const child = heap[childIndex] as Entry
      if (child.at >= last.at) break
      heap[index] = child
      index = childIndex
    }
    heap[index] = last
  }
}
