/** Eight clients at once, against eight small C parents at once. */
import { Floor, PROGRAM } from '../floor.ts'
import { type Bench, isReached, type Result, type Row } from '../row.ts'
import type { Service } from '../service.ts'

const CLIENTS = 8
/** Service and floor take turns, so that the drift of a shared machine meets both. */
const TURNS = 3
const TURN_MS = 2_000
const BUDGET = { bound: 'min', limit: 0.5 } as const

type Protocol = 'HTTP' | 'gRPC'

interface Client {
  run(): Promise<void>
  close(): Promise<void>
}

async function openClient(service: Service, protocol: Protocol): Promise<Client> {
  const http = service.http()
  const grpc = service.grpc()
  const id = await http.createSession()
  return {
    run: () => (protocol === 'HTTP' ? http.run(`/sessions/${id}/run`, [PROGRAM]) : grpc.run(id, [PROGRAM])),
    async close() {
      await http.deleteSession(id)
      http.close()
      grpc.close()
    },
  }
}

async function runsIn(ms: number, client: Client): Promise<number> {
  let done = 0
  for (const end = performance.now() + ms; performance.now() < end; done++) await client.run()
  return done
}

async function together(count: Promise<number>[]): Promise<number> {
  return (await Promise.all(count)).reduce((sum, done) => sum + done, 0)
}

function throughputRow(key: string, protocol: Protocol): Row {
  const title = `${protocol}: runs a second of ${CLIENTS} clients`
  async function measure(bench: Bench): Promise<Result[]> {
    const service = await bench.service()
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => openClient(service, protocol)))
    const floors = Array.from({ length: CLIENTS }, () => new Floor(bench.floorPrograms))
    let [runs, spawns] = [0, 0]
    try {
      for (let turn = 0; turn < TURNS; turn++) {
        spawns += await together(floors.map((floor) => floor.throughput(TURN_MS)))
        runs += await together(clients.map((client) => runsIn(TURN_MS, client)))
      }
    } finally {
      await Promise.all([...clients, ...floors].map((each) => each.close()))
    }
    const perSecond = (count: number) => (count * 1_000) / (TURNS * TURN_MS)
    const ratio = runs / spawns
    return [
      {
        key,
        title,
        unit: 'runs/s',
        value: { p50: perSecond(runs) },
        floor: perSecond(spawns),
        measure: ratio,
        budget: BUDGET,
        reached: isReached(ratio, BUDGET),
        samples: runs,
        notes: [],
      },
    ]
  }
  return { key, title, measure }
}

export const throughputRows: Row[] = [throughputRow('grpc-8', 'gRPC'), throughputRow('http-8', 'HTTP')]
