/** The results as a table for people, or as JSON for programs. */
import { cpus, release, totalmem } from 'node:os'
import type { Result } from './row.ts'
import type { Percentiles } from './statistics.ts'

export interface FloorReport {
  /** Microseconds. */
  dynamic: Percentiles
  static: Percentiles
}

export function environment() {
  const [first] = cpus()
  return {
    processors: cpus().length,
    processor: first?.model ?? 'unknown',
    memory_gib: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
  }
}

function inUnit(value: number | undefined | null, unit: Result['unit']): string {
  if (value === undefined || value === null) return ''
  if (unit === 'us') return `${(value / 1_000).toFixed(2)} ms`
  if (unit === 'runs/s') return `${value.toFixed(0)}/s`
  return unit === 'KB' ? `${value.toFixed(0)} KB` : value.toFixed(2)
}

function cells(result: Result): string[] {
  const { value, unit, budget, floor } = result
  const { p90, p99 } = value as Partial<Percentiles>
  const sign = budget.bound === 'max' ? '≤' : '≥'
  const measure = floor === null ? '' : result.measure.toFixed(2)
  const limit = floor === null ? inUnit(budget.limit, unit) : budget.limit.toFixed(2)
  return [
    result.title,
    ...[value.p50, p90, p99, floor].map((each) => inUnit(each, unit)),
    measure,
    `${sign} ${limit}`,
    result.reached ? 'yes' : 'NO',
  ]
}

const HEADINGS = ['', 'p50', 'p90', 'p99', 'floor p50', 'ratio', 'budget', 'reached']

function aligned(rows: string[][]): string[] {
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  )
}

export function asTable(floor: FloorReport, results: Result[]): string {
  const { processors, processor, kernel, node } = environment()
  const ofFloor = ({ p50, p90, p99 }: Percentiles) => [p50, p90, p99].map((value) => inUnit(value, 'us'))
  const [headings, ...lines] = aligned([
    HEADINGS,
    ['floor: posix_spawn of /bin/true and wait', ...ofFloor(floor.dynamic), '', '', '', ''],
    ['the same, statically linked', ...ofFloor(floor.static), '', '', '', ''],
    ...results.map(cells),
  ])
  const notes = results
    .filter(({ notes }) => notes.length > 0)
    .map(({ title, notes }) => `${title}: ${notes.join(' ')}`)
  return [
    `${processors} x ${processor}, Linux ${kernel}, Node ${node}`,
    '',
    headings,
    ...lines,
    '',
    ...notes,
    '',
  ].join('\n')
}

export function asJson(floor: FloorReport, results: Result[]): string {
  return `${JSON.stringify({ environment: environment(), floor_us: floor, rows: results }, null, 2)}\n`
}
