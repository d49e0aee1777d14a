import { subjects, WORKER_QUEUE } from '../../proto/subjects.ts'
import type { BusServer, Handler, Serving } from '../bus/api.ts'

/**
 * The worker's place in the queue groups of `create` and `run`. Without room it leaves them, so that requests go to
 * other workers, and where there is none the caller hears so at once.
 */
export class Groups {
  readonly #create: Member
  readonly #run: Member

  constructor(bus: BusServer, handlers: { create: Handler; run: Handler }) {
    const member = (verb: 'create' | 'run', handler: Handler) =>
      new Member(() => bus.serve(subjects.controlOfAllTenants(verb), handler, { queue: WORKER_QUEUE }))
    this.#create = member('create', handlers.create)
    this.#run = member('run', handlers.run)
  }

  take(wanted: { create: boolean; run: boolean }): void {
    this.#create.set(wanted.create)
    this.#run.set(wanted.run)
  }
}

class Member {
  #serving: Serving | null = null

  constructor(readonly join: () => Serving) {}

  set(wanted: boolean): void {
    if (wanted === (this.#serving !== null)) return
    if (wanted) {
      this.#serving = this.join()
    } else {
      // What is under way is counted by the room; nobody has to wait for it here.
      void this.#serving?.stop()
      this.#serving = null
    }
  }
}
