/** `opensandbox serve` */
import type { Logger } from 'pino'
import { environment } from '../config/environment.ts'
import { createLog } from '../config/log.ts'
import { type Parsed, unknownVariables } from '../config/parse.ts'
import { version } from '../config/version.ts'
import { type Service, startService } from '../service.ts'

/** npm passes on the Ctrl-C that the terminal has sent to us already; that is one wish, not two. */
const SAME_SIGNAL_MS = 100
/** To end the sandboxes after a defect of ours; whatever is wrong then, it ends. */
const CRASH_STOP_MS = 5_000
const FAILED = 1

export async function serve({ settings }: Parsed): Promise<number> {
  const log = createLog(settings)
  for (const name of unknownVariables(environment)) log.warn({ name }, 'unknown environment variable')
  log.info({ version, role: settings.role }, 'OpenSandbox starts')
  const signals = new StopSignals(log)
  let service: Service
  try {
    service = await startService(settings, log)
  } finally {
    signals.starting = false
  }
  const ended = onDefects(service, log)
  announce(service, log)
  signals.onSecond = () => service.hurry()
  const why = await Promise.race([signals.first, ended, service.lost])
  if (why instanceof Error) log.fatal({ err: why }, 'the service cannot go on')
  await service.stop()
  log.info('stopped')
  return why instanceof Error ? FAILED : 0
}

function announce({ httpAddress, grpcAddress, workerId }: Service, log: Logger): void {
  if (httpAddress === null) {
    log.info({ workerId }, 'ready')
    return
  }
  const { host, port } = httpAddress
  const address = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host
  const url = `http://${address}:${port}`
  log.info(`ready: HTTP on ${url}, gRPC on ${grpcAddress?.host}:${grpcAddress?.port}`)
  log.info(`try: curl -s ${url}/run -H 'content-type: application/json' -d '{"command":["echo","hello"]}'`)
}

/** The first signal stops, the second hurries, the third ends the process. */
class StopSignals {
  readonly first: Promise<NodeJS.Signals>
  /** While this is so nothing can be stopped in order yet; starting takes seconds. */
  starting = true
  onSecond: () => void = () => {}
  #count = 0
  #lastAt = Number.NEGATIVE_INFINITY
  #resolveFirst: (signal: NodeJS.Signals) => void = () => {}
  readonly #log: Logger

  constructor(log: Logger) {
    this.#log = log
    this.first = new Promise((resolve) => {
      this.#resolveFirst = resolve
    })
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#on(signal))
  }

  #on(signal: NodeJS.Signals): void {
    const now = performance.now()
    if (now - this.#lastAt < SAME_SIGNAL_MS) return
    this.#lastAt = now
    this.#count += 1
    if (this.#count === 1) {
      const when = this.starting ? 'stops when it has started' : 'stops; again to hurry'
      this.#log.info({ signal }, when)
      this.#resolveFirst(signal)
    } else if (this.#count === 2) {
      this.#log.warn({ signal }, 'hurries; again to end at once')
      this.onSecond()
    } else {
      this.#log.fatal({ signal }, 'ends at once')
      process.exit(FAILED)
    }
  }
}

/** A defect of ours: what it has broken is unknown, so the sandboxes are ended and somebody else starts us anew. */
function onDefects(service: Service, log: Logger): Promise<Error> {
  return new Promise((resolve) => {
    const on = (kind: string) => (thrown: unknown) => {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown))
      log.fatal({ err: error }, kind)
      resolve(error)
      service.hurry()
      setTimeout(() => process.exit(FAILED), CRASH_STOP_MS).unref()
    }
    process.on('uncaughtException', on('uncaught exception'))
    process.on('unhandledRejection', on('unhandled rejection'))
  })
}
