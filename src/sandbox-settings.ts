import type { Settings } from './config/settings.ts'
import type { SandboxSettings } from './sandbox/provider.ts'

const BYTES_PER_MB = 1024 * 1024

/** What the operator's settings mean to each sandbox. */
export function sandboxSettings(
  settings: Settings,
  { name, poolSize }: { name: string; poolSize: number },
): SandboxSettings {
  return {
    name,
    poolSize,
    diskBytes: settings.diskMb * BYTES_PER_MB,
    diskInodes: settings.diskInodes,
    shmBytes: settings.shmMb * BYTES_PER_MB,
    sessionMemoryBytes: settings.sessionMemoryMb * BYTES_PER_MB,
    sessionProcesses: settings.sessionProcesses,
    binds: settings.bind,
  }
}
