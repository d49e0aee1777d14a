import { parseArgs } from 'node:util'

export interface Options {
  /** Keys of the rows to measure; all if empty. */
  rows: string[]
  /** Samples of each latency. */
  samples: number
  /** Idle sessions of the row `idle`. */
  sessions: number
  json: boolean
}

/** Few enough that all rows take less than three minutes, enough for a p99. */
const DEFAULT_SAMPLES = 300
const DEFAULT_SESSIONS = 1_000

export const USAGE = `usage: npm run bench -- [--rows KEY,KEY] [--samples N] [--sessions N] [--json]`

function positive(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`--${name}: expected a positive integer, got ${text}`)
  return value
}

/** Throws an Error that names the option that is wrong. */
export function parseOptions(args: string[], knownRows: readonly string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      rows: { type: 'string', default: '' },
      samples: { type: 'string', default: String(DEFAULT_SAMPLES) },
      sessions: { type: 'string', default: String(DEFAULT_SESSIONS) },
      json: { type: 'boolean', default: false },
    },
  })
  const rows = values.rows.split(',').filter(Boolean)
  const unknown = rows.find((row) => !knownRows.includes(row))
  if (unknown !== undefined) throw new Error(`--rows: no row ${unknown}; there are ${knownRows.join(', ')}`)
  return {
    rows,
    samples: positive('samples', values.samples),
    sessions: positive('sessions', values.sessions),
    json: values.json,
  }
}
