/** What a session needs of the outside world. Implemented in src/, replaced by fakes in tests. */
import type { FileEntry } from '../proto/files.ts'
import type { Cause, Limits, Usage } from '../proto/run.ts'
import type { Network } from '../proto/session.ts'

/** A command with every default filled in. */
export interface RunSpec {
  runId: string
  command: string[]
  /** Whole environment of the command, beside what init adds where it is missing (PATH, HOME). */
  env: Record<string, string>
  cwd: string
  stdin: Uint8Array
  limits: Limits
}

/** How a command ended. Never an error: what goes wrong in the command is told by `cause`. */
export interface RunOutcome {
  cause: Cause
  exitCode: number | null
  signal: number | null
  error: string | null
  stdout: Uint8Array
  stderr: Uint8Array
  stdoutTruncated: boolean
  stderrTruncated: boolean
  usage: Usage
}

/**
 * One isolated root, process tree and network. Paths are resolved inside it by the kernel.
 * File methods throw SandboxError `path_not_found`, `not_a_file`, `not_a_directory`, `payload_too_large`, `disk_full`
 * or `file_refused`; every method throws `session_lost` once the sandbox has ended by itself.
 */
export interface Sandbox {
  readonly id: string
  /** Resolves when the command and all its descendants are gone. An abort ends them; its reason is the `cause`. */
  run(spec: RunSpec, signal: AbortSignal): Promise<RunOutcome>
  /** Makes parent directories; mode 0644; replaces the content of a regular file. */
  writeFile(path: string, content: Uint8Array): Promise<void>
  readFile(path: string): Promise<Uint8Array>
  /** Sorted by name (by code point). */
  listFiles(path: string): Promise<FileEntry[]>
  /** The path itself if it is a directory; throws `path_not_found` or `not_a_directory`. */
  checkDirectory(path: string): Promise<void>
  /** Ends every process; resolves when processes, mounts, cgroups and files are gone. Idempotent. */
  destroy(): Promise<void>
  /** Settles only when the sandbox ends without `destroy`: says why. */
  readonly lost: Promise<string>
}

export interface SandboxSpec {
  network: Network
}

export interface SandboxProvider {
  /** A sandbox that nobody has used. Throws `sandbox_failed`. */
  acquire(spec: SandboxSpec): Promise<Sandbox>
}
