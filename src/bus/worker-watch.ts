import type { Msg } from 'nats'
import { WORKER_LEASE_MS } from '../../proto/message.ts'
import { subjects } from '../../proto/subjects.ts'
import type { WorkerInfo } from './api.ts'
import { parseJson, textOf } from './codec.ts'
import type { Link } from './connection.ts'

/** Workers whose beats are remembered; more than this is not a deployment but a flood. */
const MAX_WORKERS = 10_000

/** By then the answers to a census are in: a thousand times a round trip. */
const CENSUS_MS = 250

interface Heard {
  info: WorkerInfo
  at: number
}

/** Which workers there are, from their heartbeats. Asks for a census at once, so that nobody waits for a beat. */
export class WorkerWatch {
  readonly #link: Link
  readonly #heard = new Map<string, Heard>()
  #askedAt = 0

  constructor(link: Link) {
    this.#link = link
    link.subscribe(subjects.allWorkerInfo(), (message) => this.#onInfo(message))
    this.#takeCensus()
    link.onBack(() => this.#takeCensus())
  }

  /** Those heard of within WORKER_LEASE_MS. */
  live(): WorkerInfo[] {
    const oldest = performance.now() - WORKER_LEASE_MS
    for (const [id, { at }] of this.#heard) if (at < oldest) this.#heard.delete(id)
    return [...this.#heard.values()].map(({ info }) => info)
  }

  /** Whether all who live have had the time to say so since we are connected. */
  get complete(): boolean {
    return performance.now() - this.#askedAt > CENSUS_MS
  }

  #takeCensus(): void {
    this.#askedAt = performance.now()
    this.#link.nc.publish(subjects.workerCensus())
  }

  #onInfo(message: Msg): void {
    const info = parseJson(textOf(message.data)) as WorkerInfo
    if (message.subject !== subjects.workerInfo(info.id)) return
    if (info.stopped === true) this.#heard.delete(info.id)
    else if (this.#heard.size < MAX_WORKERS || this.#heard.has(info.id)) {
      this.#heard.set(info.id, { info, at: performance.now() })
    }
  }
}
