/** Puts a worker together and takes it apart again. */
import type { SandboxProvider } from '../../actors/ports.ts'
import { isSubjectToken, subjects } from '../../proto/subjects.ts'
import type { BusServer, EventLog, WorkerInfo } from '../bus/api.ts'
import { Dispatch } from './dispatch.ts'
import { Groups } from './groups.ts'
import { startHeartbeat } from './heartbeat.ts'
import type { Log } from './log.ts'
import { OneShots } from './one-shots.ts'
import { Room } from './room.ts'
import { Sessions } from './sessions.ts'

export interface WorkerOptions {
  bus: BusServer
  events: EventLog
  provider: SandboxProvider
  log: Log
  /** One token of a subject: 1 to 64 letters, digits, `-` or `_`. */
  workerId: string
  /** Sessions and one-shot runs at a time. */
  maxSessions: number
  /** Commands at a time, of all sessions and one-shot runs together. */
  maxRunning: number
  /** Sessions are reached at `http://<session>.<previewDomain>`; null where they are not. */
  previewDomain: string | null
  /** Idle time of sessions that ask for none; that of the contract where undefined. */
  defaultTtlSecs?: number
  allowHostNetwork: boolean
  /** How each limit is enforced on this host. */
  limits: Record<string, string>
  version: string
  /** Absolute ms; the system's clock unless a test brings its own. */
  now?: () => number
}

export interface Worker {
  info(): WorkerInfo
  /** Takes nothing new, waits up to `graceMs` for what runs, ends the sessions; resolves when all is gone. */
  stop(graceMs: number): Promise<void>
  /** Ends the wait of `stop`. */
  hurry(): void
}

/** How long the last events may take to reach the stream; the bus may be gone already. */
const FLUSH_TIMEOUT_MS = 5_000

export function startWorker(options: WorkerOptions): Worker {
  const { bus, workerId, log } = options
  if (!isSubjectToken(workerId)) throw new RangeError(`worker id is not a subject token: ${workerId}`)
  const shared = { ...options, now: options.now ?? Date.now, source: `urn:opensandbox:worker:${workerId}` }
  let isStopping = false

  const join = () =>
    groups.take({ create: !isStopping && room.forSession, run: !isStopping && room.forOneShot })
  const room = new Room(options, join)
  const oneShots = new OneShots(shared)
  const sessions = new Sessions({
    ...shared,
    serve: (tenant, sessionId) => bus.serve(subjects.commandsOfSession(tenant, sessionId), dispatch.command),
  })
  const dispatch = new Dispatch({ ...options, sessions, oneShots, room, isStopping: () => isStopping })
  const groups = new Groups(bus, { create: dispatch.create, run: dispatch.runOnce })

  const info = (): WorkerInfo => ({
    id: workerId,
    sessions: room.sessions,
    max_sessions: options.maxSessions,
    running: room.running,
    draining: isStopping,
    limits: options.limits,
    version: options.version,
  })
  const listing = bus.serve(subjects.listOfAllTenants(), dispatch.list)
  join()
  // After all that is served, so that who hears of the worker reaches it.
  const heartbeat = startHeartbeat(bus, info)

  const { promise: hurried, resolve: hurry } = withResolvers()
  let stopped: Promise<void> | undefined

  async function stop(graceMs: number): Promise<void> {
    isStopping = true
    join()
    heartbeat.beat()
    log.info({ running: room.running, sessions: room.sessions, graceMs }, 'worker stops')
    const idle = room.until(({ running }) => running === 0)
    await within(graceMs, Promise.race([idle, hurried]))
    oneShots.abortAll('session_ended')
    sessions.endAll('stopped')
    await room.until(({ sessions: held, running }) => held === 0 && running === 0)
    const flushed = Promise.all([sessions.flushed(), oneShots.flushed()])
    if (!(await within(FLUSH_TIMEOUT_MS, flushed))) log.error({}, 'not all events reached the stream')
    sessions.close()
    heartbeat.stop()
    await listing.stop()
    log.info({}, 'worker stopped')
  }

  return {
    info,
    stop(graceMs) {
      stopped ??= stop(graceMs)
      return stopped
    },
    hurry,
  }
}

/** Whether the promise settled in time. */
async function within(timeoutMs: number, promise: Promise<unknown>): Promise<boolean> {
  const { promise: timeout, resolve } = withResolvers()
  const timer = setTimeout(resolve, timeoutMs)
  try {
    return await Promise.race([promise.then(() => true), timeout.then(() => false)])
  } finally {
    clearTimeout(timer)
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
