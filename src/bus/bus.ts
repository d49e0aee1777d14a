import type { BusClient, BusServer } from './api.ts'
import { Bodies } from './body.ts'
import { NatsBusClient } from './client.ts'
import { type ConnectOptions, connectBus } from './connection.ts'
import { NatsEventLog } from './event-log.ts'
import { NatsBusServer } from './server.ts'
import { WorkerWatch } from './worker-watch.ts'

/**
 * Everything that a process does on the bus, over one pair of connections. Each part subscribes to what it needs when it
 * is first used, because gateways, workers and auditors have different permissions.
 */
export interface Bus {
  readonly client: BusClient
  server: BusServer
  events: NatsEventLog
  /** Version of the nats-server, e.g. `2.9.10`. */
  serverVersion: string
  /** Whether there is a connection just now. */
  connected(): boolean
  /** Sends what is left to send, then disconnects. Stop what is served first. */
  close(): Promise<void>
}

/** Throws `bus_unavailable` with the reason and the remedy. */
export async function openBus(options: ConnectOptions): Promise<Bus> {
  const { log } = options
  const connection = await connectBus(options)
  const bodies = new Bodies(connection.bulk, log)
  // A source that the server does not know yet would be asked in vain.
  await connection.bulk.nc.flush()
  let client: BusClient | undefined
  const { requests } = connection
  return {
    get client() {
      client ??= new NatsBusClient(connection, bodies, new WorkerWatch(requests))
      return client
    },
    server: new NatsBusServer(connection, bodies, log),
    events: new NatsEventLog(requests, log),
    serverVersion: requests.nc.info?.version ?? 'unknown',
    connected: () => requests.connected,
    close: async () => {
      bodies.close()
      await connection.close()
    },
  }
}
