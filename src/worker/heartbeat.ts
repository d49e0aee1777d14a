import { WORKER_BEAT_MS } from '../../proto/message.ts'
import { subjects } from '../../proto/subjects.ts'
import type { BusServer, WorkerInfo } from '../bus/api.ts'

export interface Heartbeat {
  /** Tells now what has changed. */
  beat(): void
  /** Says the last word, so that nobody waits for the lease to end. */
  stop(): void
}

/** Publishes the worker's info at every beat and when a census is taken. */
export function startHeartbeat(bus: BusServer, info: () => WorkerInfo): Heartbeat {
  const publish = (value: WorkerInfo) => bus.publish(subjects.workerInfo(value.id), value)
  const beat = () => publish(info())
  const timer = setInterval(beat, WORKER_BEAT_MS)
  const census = bus.serve(subjects.workerCensus(), async () => {
    beat()
    return { value: info(), body: new Uint8Array(0) }
  })
  beat()
  return {
    beat,
    stop() {
      clearInterval(timer)
      void census.stop()
      publish({ ...info(), stopped: true })
    },
  }
}
