/** The addon alone, in this process: what isolation itself costs. */
import { resolveLimits } from '../../proto/run.ts'
import { NativeSandboxProvider } from '../../src/sandbox/provider.ts'
import { PROGRAM } from '../floor.ts'
import { latencyRow, type Row } from '../row.ts'

const MIB = 1024 * 1024

function openProvider(): NativeSandboxProvider {
  return new NativeSandboxProvider(
    {
      name: `bench-${process.pid}`,
      poolSize: 0,
      diskBytes: 64 * MIB,
      diskInodes: 4_096,
      shmBytes: MIB,
      sessionMemoryBytes: 0,
      sessionProcesses: 0,
      binds: [],
    },
    { warn: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`) },
  )
}

export const addonRow: Row = latencyRow({
  key: 'addon',
  title: 'addon: run in a session',
  ratioMax: 1.3,
  async open() {
    const provider = openProvider()
    const sandbox = await provider.acquire({ network: 'none' })
    const { signal } = new AbortController()
    const stdin = new Uint8Array(0)
    const spec = { runId: 'bench', command: [PROGRAM], env: {}, cwd: '/', stdin, limits: resolveLimits({}) }
    return {
      async sample() {
        const outcome = await sandbox.run(spec, signal)
        if (outcome.exitCode !== 0) throw new Error(`${outcome.cause} ${outcome.error}`)
      },
      close: () => provider.close(),
    }
  },
})
