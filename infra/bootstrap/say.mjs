import { spawnSync } from 'node:child_process'

/** What went wrong and the remedy, in one line. */
export class SetupError extends Error {}

/** One line for each step. On stderr, so that stdout has the service's log only. */
export function say(text) {
  process.stderr.write(`opensandbox: ${text}\n`)
}

/** Runs a program to its end; its output is shown only if it fails. Throws SetupError with `remedy`. */
export function carryOut(program, args, { remedy, ...options }) {
  const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
  const result = spawnSync(program, args, { encoding: 'utf8', maxBuffer: MAX_OUTPUT_BYTES, ...options })
  if (result.status === 0) return result.stdout
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`)
  const how = result.error?.message ?? result.signal ?? `exit code ${result.status}`
  throw new SetupError(`${program} ${args.slice(0, 3).join(' ')} failed (${how}); ${remedy}`)
}
