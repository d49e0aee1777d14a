import type { BusClient, BusServer } from './api.ts'
import { Bodies } from './body.ts'
import { NatsBusClient } from './client.ts'
import { type ConnectOptions, connectBus } from './connection.ts'
import { NatsEventLog } from './event-log.ts'
import { NatsBusServer } from './server.ts'
import { WorkerWatch } from './worker-watch.ts'

/** Everything that a process does on the bus, over one pair of connections. */
export interface Bus {
  client: BusClient
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
  return {
    client: new NatsBusClient(connection, bodies, new WorkerWatch(connection.requests, log)),
    server: new NatsBusServer(connection, bodies, log),
    events: new NatsEventLog(connection.requests, log),
    serverVersion: connection.requests.nc.info?.version ?? 'unknown',
    connected: () => connection.requests.connected,
    close: async () => {
      bodies.close()
      await connection.close()
    },
  }
}
