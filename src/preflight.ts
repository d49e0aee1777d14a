/** What a host must have: checked before the service starts, and told in full by `opensandbox doctor`. */
import { findNatsServer } from './bus/nats-binary.ts'
import type { Settings } from './config/settings.ts'
import type { HostReport } from './sandbox/host-report.ts'

export interface Finding {
  what: string
  /** `missing` ends a start; `weak` is a limit that does not hold. */
  status: 'ok' | 'weak' | 'missing'
  /** What was found, or what is wrong with the remedy. */
  detail: string
}

/** What a person reads of `cgroup1` and so on. */
const MECHANISMS: Record<string, string> = {
  cgroup2: 'cgroup v2',
  cgroup1: 'cgroup v1',
  rlimit: 'resource limits of each process, not of all together',
  timer: 'timer in the sandbox',
  none: 'not enforced',
}

/** What every role needs. */
export function checkPlatform(): Finding {
  return process.platform === 'linux'
    ? { what: 'Linux', status: 'ok', detail: `Node ${process.versions.node} on ${process.arch}` }
    : {
        what: 'Linux',
        status: 'missing',
        detail: `this is ${process.platform}; sandboxes need a Linux kernel`,
      }
}

/** What a worker needs. */
export async function checkSandboxing(): Promise<{ findings: Finding[]; report?: HostReport }> {
  const root = checkRoot()
  try {
    // Only now, because a gateway needs no addon.
    const { inspectHost } = await import('./sandbox/host-report.ts')
    const report = inspectHost()
    return { report, findings: [root, { what: 'addon', status: 'ok', detail: 'loads' }, ...limitsOf(report)] }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return { findings: [root, { what: 'addon', status: 'missing', detail }] }
  }
}

function checkRoot(): Finding {
  return process.getuid?.() === 0
    ? { what: 'root', status: 'ok', detail: 'yes' }
    : { what: 'root', status: 'missing', detail: 'sandboxes need root; run with sudo' }
}

function limitsOf({ cgroup, limits, problems }: HostReport): Finding[] {
  const cgroups: Finding =
    cgroup === 'none'
      ? {
          what: 'cgroups',
          status: 'weak',
          detail: 'none are usable; mount /sys/fs/cgroup writable (in a container: --privileged)',
        }
      : { what: 'cgroups', status: 'ok', detail: MECHANISMS[cgroup] ?? cgroup }
  const each = Object.entries(limits).map(([limit, mechanism]): Finding => {
    const isWeak = mechanism === 'none' || (mechanism === 'rlimit' && cgroup === 'none' && isCounted(limit))
    return {
      what: `limit: ${limit}`,
      status: isWeak ? 'weak' : 'ok',
      detail: MECHANISMS[mechanism] ?? mechanism,
    }
  })
  return [cgroups, ...each, ...problems.map((detail): Finding => ({ what: 'host', status: 'weak', detail }))]
}

/** Limits of all processes together, which a resource limit of each cannot replace. */
function isCounted(limit: string): boolean {
  return limit === 'cpu' || limit === 'memory' || limit === 'pids'
}

/** What the private NATS server needs. */
export async function checkNats(
  { natsUrl, natsServerBin }: Pick<Settings, 'natsUrl' | 'natsServerBin'>,
  searchPath: string,
): Promise<Finding> {
  if (natsUrl !== null) return { what: 'NATS', status: 'ok', detail: 'a server is given by its URL' }
  try {
    const { path, version } = await findNatsServer(natsServerBin ?? undefined, searchPath)
    return { what: 'NATS', status: 'ok', detail: `nats-server ${version} at ${path}` }
  } catch (error) {
    return { what: 'NATS', status: 'missing', detail: error instanceof Error ? error.message : String(error) }
  }
}
