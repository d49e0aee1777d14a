/**
 * `npm run bench`: every row of the budget beside the floor, in one run. README.md says how to read it.
 * Exits with 1 where a row could not be measured; a budget that is not reached is a result, not a failure.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compileFloor, Floor, type FloorPrograms } from './floor.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import { asJson, asTable, type FloorReport } from './report.ts'
import type { Bench, Result, Row } from './row.ts'
import { addonRow } from './rows/addon.ts'
import { idleSessionsRow } from './rows/idle-sessions.ts'
import { requestRows } from './rows/requests.ts'
import { throughputRows } from './rows/throughput.ts'
import { Service } from './service.ts'
import { percentiles } from './statistics.ts'

const ROWS: Row[] = [addonRow, ...requestRows, ...throughputRows, idleSessionsRow]

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function floorReport(programs: FloorPrograms, dynamic: Floor, samples: number): Promise<FloorReport> {
  const bare = new Floor(programs, programs.staticTrue)
  const report = {
    dynamic: percentiles(await dynamic.latencies(samples)),
    static: percentiles(await bare.latencies(samples)),
  }
  await bare.close()
  return report
}

async function measure(options: Options, folder: string): Promise<{ floor: FloorReport; results: Result[] }> {
  const programs = compileFloor(folder)
  const floor = new Floor(programs)
  let starting: Promise<Service> | undefined
  const service = () => {
    const room = String(options.sessions + 500)
    starting ??= Service.start(join(folder, 'state'), ['--max-sessions', room])
    return starting
  }
  try {
    const report = await floorReport(programs, floor, options.samples)
    const bench: Bench = { options, floor, floorPrograms: programs, service }
    const results: Result[] = []
    for (const row of ROWS.filter(({ key }) => options.rows.length === 0 || options.rows.includes(key))) {
      say(`measuring ${row.key} …`)
      results.push(...(await row.measure(bench)))
    }
    return { floor: report, results }
  } finally {
    await (await starting?.catch(() => undefined))?.stop()
    await floor.close()
  }
}

async function main(): Promise<void> {
  const options = parseOptions(
    process.argv.slice(2),
    ROWS.map(({ key }) => key),
  )
  const folder = mkdtempSync(join(tmpdir(), 'opensandbox-bench-'))
  try {
    const { floor, results } = await measure(options, folder)
    process.stdout.write(options.json ? asJson(floor, results) : asTable(floor, results))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

try {
  await main()
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : String(error)}`)
  say(USAGE)
  process.exitCode = 1
}
