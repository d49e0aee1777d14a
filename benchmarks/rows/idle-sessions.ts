/**
 * Many idle sessions: what each costs in memory, and whether a run among them is slower.
 *
 * Memory is counted twice. `MemAvailable` of the host before and after holds everything there is (inits, page tables,
 * tmpfs, cgroups, namespaces, the worker, nats-server), and everything that other programs do meanwhile. The note names
 * parts that are counted by themselves.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PROGRAM } from '../floor.ts'
import { type Bench, interleave, isReached, type Result, type Row, type Subject } from '../row.ts'
import type { Service } from '../service.ts'
import { percentiles } from '../statistics.ts'

const MEMORY_BUDGET = { bound: 'max', limit: 2 * 1024 } as const
const SLOWDOWN_BUDGET = { bound: 'max', limit: 1.2 } as const
const CREATES_AT_ONCE = 4
/** The kernel frees and accounts some memory later. */
const SETTLE_MS = 1_500

interface Memory {
  hostKb: number
  slabKb: number
  serviceKb: number
}

function memory(service: Service): Memory {
  const info = readFileSync('/proc/meminfo', 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(info)?.[1])
  return { hostKb: -field('MemAvailable'), slabKb: field('Slab'), serviceKb: service.residentKb() }
}

/** `each` for 0 to count - 1, a few at once. */
async function forMany(count: number, each: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await each(index)
  }
  await Promise.all(Array.from({ length: CREATES_AT_ONCE }, lane))
}

async function runRatio(bench: Bench, subject: Subject) {
  const latencies = await interleave(bench, subject, bench.options.samples)
  const value = percentiles(latencies.subject)
  return { value, ratio: value.p50 / percentiles(latencies.floor).p50 }
}

async function measure(bench: Bench): Promise<Result[]> {
  const count = bench.options.sessions
  const service = await bench.service()
  const http = service.http()
  const own = await http.createSession()
  const subject = { sample: () => http.run(`/sessions/${own}/run`, [PROGRAM]), close: async () => {} }
  const ids: string[] = []
  const lanes = Array.from({ length: CREATES_AT_ONCE }, () => service.http())
  const lane = (index: number) => lanes[index % CREATES_AT_ONCE] ?? http
  try {
    const alone = await runRatio(bench, subject)
    await sleep(SETTLE_MS)
    const before = memory(service)
    const start = performance.now()
    await forMany(count, async (index) => void ids.push(await lane(index).createSession()))
    const createMs = (performance.now() - start) / count
    await sleep(SETTLE_MS)
    const after = memory(service)
    const among = await runRatio(bench, subject)
    return [
      memoryResult(count, before, after, createMs),
      slowdownResult(count, alone, among, bench.options.samples),
    ]
  } finally {
    await forMany(ids.length, (index) => lane(index).deleteSession(ids[index] ?? ''))
    await http.deleteSession(own)
    for (const client of [http, ...lanes]) client.close()
  }
}

function memoryResult(count: number, before: Memory, after: Memory, createMs: number): Result {
  const each = (part: keyof Memory) => (after[part] - before[part]) / count
  const kb = each('hostKb')
  return {
    key: 'idle',
    title: `memory of each of ${count} idle sessions`,
    unit: 'KB',
    value: { p50: kb },
    floor: null,
    measure: kb,
    budget: MEMORY_BUDGET,
    reached: isReached(kb, MEMORY_BUDGET),
    samples: count,
    notes: [
      'host-wide MemAvailable before and after; of it',
      `${each('slabKb').toFixed(0)} KB kernel slab, ${each('serviceKb').toFixed(0)} KB resident in Node and nats-server;`,
      `created in ${createMs.toFixed(1)} ms each, ${CREATES_AT_ONCE} at once`,
    ],
  }
}

type RunRatio = Awaited<ReturnType<typeof runRatio>>

/** Both are divided by their own floor first: the machine may have become slower meanwhile. */
function slowdownResult(count: number, alone: RunRatio, among: RunRatio, samples: number): Result {
  const measure = among.ratio / alone.ratio
  return {
    key: 'idle',
    title: `HTTP: run among ${count} idle sessions`,
    unit: 'us',
    value: among.value,
    floor: alone.value.p50,
    measure,
    budget: SLOWDOWN_BUDGET,
    reached: isReached(measure, SLOWDOWN_BUDGET),
    samples,
    notes: ['the floor here is the same run with no other session; both over their own bare floor'],
  }
}

export const idleSessionsRow: Row = { key: 'idle', title: 'idle sessions', measure }
