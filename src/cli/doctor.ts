/** `opensandbox doctor` */
import { searchPath } from '../config/environment.ts'
import type { Parsed } from '../config/parse.ts'
import { checkNats, checkPlatform, checkSandboxing, type Finding } from '../preflight.ts'

const MARKS: Record<Finding['status'], string> = { ok: 'ok     ', weak: 'WEAK   ', missing: 'MISSING' }

/** Exit code 1 where something is missing without which the service does not start. */
export async function doctor({ settings }: Parsed): Promise<number> {
  const { findings: sandboxing } = await checkSandboxing()
  const findings = [checkPlatform(), await checkNats(settings, searchPath), ...sandboxing]
  const width = Math.max(...findings.map(({ what }) => what.length))
  for (const { what, status, detail } of findings) {
    process.stdout.write(`${MARKS[status]}  ${what.padEnd(width)}  ${detail}\n`)
  }
  const missing = findings.filter(({ status }) => status === 'missing').length
  const weak = findings.filter(({ status }) => status === 'weak').length
  process.stdout.write(`\n${verdict(missing, weak)}\n`)
  return missing === 0 ? 0 : 1
}

function verdict(missing: number, weak: number): string {
  if (missing > 0) return 'This host cannot run OpenSandbox: see what is missing above.'
  if (weak > 0) return 'OpenSandbox runs here, but what is marked weak does not hold.'
  return 'OpenSandbox runs here, and every limit holds.'
}
