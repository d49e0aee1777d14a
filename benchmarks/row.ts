/** A row of the table: what is measured, against which floor, and what it may cost. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Floor, FloorPrograms } from './floor.ts'
import type { Options } from './options.ts'
import type { Service } from './service.ts'
import { type Percentiles, percentiles } from './statistics.ts'

export interface Bench {
  options: Options
  floor: Floor
  floorPrograms: FloorPrograms
  /** The service under test, started when a row first asks for it. */
  service(): Promise<Service>
}

export interface Result {
  key: string
  title: string
  /** What one unit of `value` is. */
  unit: 'us' | 'runs/s' | 'KB' | 'x'
  /** Of a latency; of anything else only `p50`, the value itself. */
  value: Percentiles | { p50: number }
  /** Of the same unit, measured among the samples; null where there is nothing to compare with. */
  floor: number | null
  /** What the budget is about: value / floor, or the value where there is no floor. */
  measure: number
  budget: { bound: 'max' | 'min'; limit: number }
  reached: boolean
  samples: number
  notes: string[]
}

export interface Row {
  key: string
  title: string
  measure(bench: Bench): Promise<Result[]>
}

/** One client that does one thing after another. `sample` throws where the answer is not the right one. */
export interface Subject {
  sample(): Promise<void>
  close(): Promise<void>
}

export interface LatencyRowOptions {
  key: string
  title: string
  ratioMax: number
  open(bench: Bench): Promise<Subject>
  /** Pause before each sample, for what works off its debts in pauses. */
  pauseMs?: number
}

export function isReached(measure: number, budget: Result['budget']): boolean {
  return budget.bound === 'max' ? measure <= budget.limit : measure >= budget.limit
}

/** Floor and subject take turns in blocks this long, so that the drift of a shared machine meets both. */
const BLOCK = 20
/**
 * A service that has been up for a minute is what users have: until V8 has compiled what is called often, some thousand
 * requests take two to three times as long.
 */
const WARM_UP = 1_500
/** Lets what the other side left to do come to its end. */
const SETTLE_MS = 25
/** A row that is slower than expected gives up samples, not the time of the others. */
const ROW_MS_MAX = 20_000

async function timed(subject: Subject): Promise<number> {
  const start = performance.now()
  await subject.sample()
  return (performance.now() - start) * 1_000
}

/** Microseconds of the subject and of the floor, interleaved. */
export async function interleave(
  bench: Bench,
  subject: Subject,
  samples: number,
  pauseMs = 0,
): Promise<{ subject: number[]; floor: number[] }> {
  const latencies = { subject: [] as number[], floor: [] as number[] }
  const end = performance.now() + ROW_MS_MAX
  for (let i = 0; i < WARM_UP && performance.now() < end - ROW_MS_MAX / 2; i++) await subject.sample()
  await bench.floor.latencies(BLOCK)
  while (latencies.subject.length < samples && performance.now() < end) {
    await sleep(SETTLE_MS)
    latencies.floor.push(...(await bench.floor.latencies(BLOCK)))
    await sleep(SETTLE_MS)
    for (let i = 0; i < Math.min(BLOCK, samples); i++) {
      if (pauseMs > 0) await sleep(pauseMs)
      latencies.subject.push(await timed(subject))
    }
  }
  return latencies
}

export function latencyRow(options: LatencyRowOptions): Row {
  const { key, title, ratioMax, open, pauseMs = 0 } = options
  return {
    key,
    title,
    async measure(bench) {
      const subject = await open(bench)
      try {
        const latencies = await interleave(bench, subject, bench.options.samples, pauseMs)
        const value = percentiles(latencies.subject)
        const floor = percentiles(latencies.floor).p50
        const budget = { bound: 'max' as const, limit: ratioMax }
        const measure = value.p50 / floor
        const reached = isReached(measure, budget)
        const samples = latencies.subject.length
        return [{ key, title, unit: 'us', value, floor, measure, budget, reached, samples, notes: [] }]
      } finally {
        await subject.close()
      }
    },
  }
}
