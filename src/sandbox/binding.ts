/** The native addon as TypeScript sees it. JavaScript validates and normalises; the addon only translates. */
import { createRequire } from 'node:module'
import { packageRoot } from '../config/package-root.ts'

/** Thrown and passed by the addon: `errno` names the kernel's refusal, `message` says what was tried. */
export interface NativeError extends Error {
  /** e.g. `ENOSPC`. */
  code: string
  errno: number
}

export interface NativeSandboxConfig {
  hostname: string
  diskBytes: number
  diskInodes: number
  shmBytes: number
  sessionMemoryBytes: number
  sessionProcesses: number
  hostNetwork: boolean
  /** `[source, target]`, read-only, recursive. */
  binds: [string, string][]
  /** `[target, path]`. */
  links: [string, string][]
  /** `[path, content]`. */
  files: [string, string][]
}

export interface NativeExecConfig {
  argv: string[]
  /** `NAME=value`. */
  env: string[]
  cwd: string
  stdin: Uint8Array
  cpuMs: number
  wallMs: number
  memoryBytes: number
  fileSizeBytes: number
  openFiles: number
  processes: number
  outputBytes: number
}

export interface NativeOutcome {
  /** enum osb_cause of native/protocol.h by name, e.g. `cpu_limit`. */
  cause: string
  /** Stage of an exec failure: `request`, `fork`, `cgroup`, `limits`, `stdio`, `cwd`, `exec`; empty if none. */
  stage: string
  /** Name of the errno of that stage, e.g. `ENOENT`; empty if none. */
  error: string
  exitCode: number
  signal: number
  leftover: number
  cpuUs: number
  wallUs: number
  memoryPeakBytes: number
  stdout: Uint8Array
  stderr: Uint8Array
  stdoutTruncated: boolean
  stderrTruncated: boolean
}

export interface NativeDirectoryEntry {
  name: string
  isDirectory: boolean
  size: number
}

type Callback<T> = (error: NativeError | null, value: T) => void

export type KillCause = 'cancelled' | 'session_ended'

/** How each limit is enforced on this host; for doctor, health and results. */
export interface HostReport {
  cgroup: 'none' | 'cgroup1' | 'cgroup2'
  limits: Record<'cpu' | 'wall' | 'memory' | 'pids' | 'fsize' | 'nofile' | 'output' | 'disk', string>
  /** What is missing, each with its remedy; empty on a good host. */
  problems: string[]
}

export interface NativeEngine {
  /** Starts an init and waits until its root is ready. `value` is the sandbox's handle. */
  createSandbox(config: NativeSandboxConfig, done: Callback<number>): void
  /** Returns the run's handle, for `kill`. `done` comes after every descendant is gone and all output is read. */
  exec(sandbox: number, config: NativeExecConfig, done: Callback<NativeOutcome>): number
  kill(sandbox: number, run: number, cause: KillCause): void
  writeFile(sandbox: number, path: string, content: Uint8Array, done: Callback<undefined>): void
  /** Fails with EFBIG beyond `maxBytes`. */
  readFile(sandbox: number, path: string, maxBytes: number, done: Callback<Uint8Array>): void
  /** Fails with EOVERFLOW beyond `maxEntries`. Unsorted, without `.` and `..`. */
  listDirectory(
    sandbox: number,
    path: string,
    maxEntries: number,
    done: Callback<NativeDirectoryEntry[]>,
  ): void
  checkDirectory(sandbox: number, path: string, done: Callback<undefined>): void
  /** `done` when processes, mounts and cgroups are gone. Runs under way end with `session_ended` first. */
  destroySandbox(sandbox: number, done: Callback<undefined>): void
  /** Destroys what is left, ends the threads, removes the engine's cgroups. */
  close(done: Callback<undefined>): void
}

export interface NativeAddon {
  /** `name` names the engine's cgroups. `onLost` is called when an init ends by itself. */
  Engine: new (
    name: string,
    onLost: (sandbox: number, reason: string) => void,
  ) => NativeEngine
  inspectHost(): HostReport
}

const load = createRequire(import.meta.url)('node-gyp-build') as (folder: string) => NativeAddon

let loaded: NativeAddon | undefined

/** The addon, loaded when first asked for: help and doctor must work without it. Throws an Error with the remedy. */
export function loadNative(): NativeAddon {
  try {
    loaded ??= load(packageRoot)
    return loaded
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw new Error(`The native addon does not load (${why}). Build it with: npm run build:native`, {
      cause: error,
    })
  }
}
