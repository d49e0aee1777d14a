/**
 * What a test leaves behind on the host: processes, mounts, cgroup directories.
 *
 * Other tests run at the same time, so a process or cgroup counts only if it carries one of the test's own marks: in
 * its command line, its environment, or the path of its cgroup (which has the worker's id in it). Mounts are compared
 * as they are, because no sandbox may make one in the host's namespace.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface HostSnapshot {
  marks: string[]
  processes: Set<string>
  mounts: Set<string>
  cgroups: Set<string>
}

const CGROUP_ROOT = '/sys/fs/cgroup'
const POLL_MS = 50

export function snapshotHost(marks: string[]): HostSnapshot {
  return {
    marks,
    processes: new Set(markedProcesses(marks)),
    mounts: new Set(read('/proc/self/mountinfo').split('\n').filter(Boolean)),
    cgroups: new Set(markedCgroups(CGROUP_ROOT, marks)),
  }
}

/** What is there now and was not at `before`; empty as soon as nothing is, else after `timeoutMs`. */
export async function leftovers(before: HostSnapshot, timeoutMs = 2_000): Promise<string[]> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const now = snapshotHost(before.marks)
    const found = [
      ...added('process', before.processes, now.processes),
      ...added('mount', before.mounts, now.mounts),
      ...added('cgroup', before.cgroups, now.cgroups),
    ]
    if (found.length === 0 || performance.now() > deadline) return found
    await sleep(POLL_MS)
  }
}

function added(kind: string, before: Set<string>, now: Set<string>): string[] {
  return [...now].filter((item) => !before.has(item)).map((item) => `${kind} ${item}`)
}

/** `pid start-time command line`: a pid alone may be another process by now. */
function markedProcesses(marks: string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const commandLine = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
      const text = `${commandLine}\n${read(`/proc/${pid}/environ`)}\n${read(`/proc/${pid}/cgroup`)}`
      if (!marks.some((mark) => text.includes(mark))) return []
      const stat = read(`/proc/${pid}/stat`)
      // The name in parentheses may hold spaces; the start time is field 22, the 20th after it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return [`${pid} ${fields[19]} ${commandLine || '(no command line)'}`]
    })
}

function markedCgroups(folder: string, marks: string[]): string[] {
  return subfolders(folder).flatMap((name) => {
    const path = join(folder, name)
    const inner = markedCgroups(path, marks)
    return marks.some((mark) => name.includes(mark)) ? [path, ...inner] : inner
  })
}

function subfolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
  } catch {
    // Gone meanwhile.
    return []
  }
}

/** Empty where the process is gone meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
