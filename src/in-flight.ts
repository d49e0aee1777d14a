/** The requests that a front-end owes an answer, so that it can stop when the last one is out. */
export class InFlight<T> {
  #items = new Set<T>()
  #onEmpty: (() => void)[] = []

  add(item: T): void {
    this.#items.add(item)
  }

  delete(item: T): void {
    this.#items.delete(item)
    if (this.#items.size > 0) return
    for (const resolve of this.#onEmpty.splice(0)) resolve()
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#items.values()
  }

  /** Resolves when there is none, at once if so now. */
  async empty(): Promise<void> {
    if (this.#items.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve))
  }
}

/** Resolves when `done` does, or after `graceMs`. */
export async function withinGrace(done: Promise<void>, graceMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const grace = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, graceMs)
  })
  await Promise.race([done, grace])
  clearTimeout(timer)
}
