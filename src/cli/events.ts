/** `opensandbox events` */
import { once } from 'node:events'
import { EVENT_TYPE_PREFIX, type SandboxEvent } from '../../proto/events.ts'
import { openBus } from '../bus/bus.ts'
import { privateServerUrl } from '../bus/private-server.ts'
import { sinceMsOf } from '../config/events-settings.ts'
import { createLog } from '../config/log.ts'
import type { Parsed } from '../config/parse.ts'
import type { Settings } from '../config/settings.ts'
import { StartError } from '../start-error.ts'

export async function events({ settings }: Parsed): Promise<number> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  // Whoever reads us has had enough.
  process.stdout.on('error', () => interrupted.abort())
  const bus = await openBus({ url: await addressOf(settings), name: 'opensandbox events', log: silentLog() })
  try {
    const query = {
      tenant: settings.tenant,
      follow: settings.follow,
      signal: interrupted.signal,
      ...(settings.session === null ? {} : { sessionId: settings.session }),
      ...(settings.since === null ? {} : { sinceMs: sinceMsOf(settings.since, Date.now()) }),
    }
    for await (const event of bus.events.read(query)) {
      const line = settings.json ? JSON.stringify(event) : lineOf(event)
      if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain').catch(() => {})
    }
  } finally {
    await bus.close()
  }
  return 0
}

async function addressOf({ natsUrl, stateDir }: Settings): Promise<string> {
  const url = natsUrl ?? (await privateServerUrl(stateDir))
  if (url !== undefined) return url
  throw new StartError(
    `no service runs on ${stateDir}; start one, or say where it is by --state-dir or --nats-url`,
  )
}

/** stdout is for events only. */
function silentLog() {
  return createLog({ logLevel: 'silent', logFormat: 'json' })
}

/** `time  session  type  name=value …` */
function lineOf({ time, type, subject, data }: SandboxEvent): string {
  const fields = Object.entries(data).map(([name, value]) => `${name}=${text(value)}`)
  return [time, subject, type.slice(EVENT_TYPE_PREFIX.length), fields.join(' ')].join('  ').trimEnd()
}

function text(value: unknown): string {
  return typeof value === 'string' && /^[\w./:-]+$/.test(value) ? value : JSON.stringify(value)
}
