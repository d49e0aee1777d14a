import Type, { type Static } from 'typebox'
import {
  CPU_TIME_MS,
  FILE_SIZE_KB,
  MAX_ARGUMENTS,
  MAX_PATH_BYTES,
  MEMORY_KB,
  OPEN_FILES,
  OUTPUT_BYTES,
  PROCESSES,
  WALL_TIME_MS,
} from './limits.ts'

/** Environment variables; that a name is not empty and holds neither `=` nor NUL is checked with the bounds. */
export const EnvSchema = Type.Record(Type.String(), Type.String())
export type Env = Static<typeof EnvSchema>

/** An absolute path inside the sandbox, without NUL. */
export const PathSchema = Type.String({ pattern: '^/[^\\0]*$', maxLength: MAX_PATH_BYTES })

const integer = (bounds: { min: number; max: number }) =>
  Type.Integer({ minimum: bounds.min, maximum: bounds.max })

const limitFields = {
  /** CPU ms. */
  time: Type.Optional(integer(CPU_TIME_MS)),
  /** Wall ms; default twice `time`, at least 10,000. */
  wall: Type.Optional(integer(WALL_TIME_MS)),
  /** KB. */
  mem: Type.Optional(integer(MEMORY_KB)),
  /** KB. */
  fsize: Type.Optional(integer(FILE_SIZE_KB)),
  nofile: Type.Optional(integer(OPEN_FILES)),
  pids: Type.Optional(integer(PROCESSES)),
  /** Bytes of each stream. */
  output_limit: Type.Optional(integer(OUTPUT_BYTES)),
}

/** Limits as callers write them, in a run or as the defaults of a session. */
export const LimitsSchema = Type.Object(limitFields, { additionalProperties: false })
export type LimitArgs = Static<typeof LimitsSchema>

/** Arguments of `run`, on the bus and (with stdin and encoding beside) over HTTP. stdin is the message's body. */
export const RunArgsSchema = Type.Object(
  {
    command: Type.Array(Type.String({ pattern: '^[^\\0]*$' }), { minItems: 1, maxItems: MAX_ARGUMENTS }),
    env: Type.Optional(EnvSchema),
    cwd: Type.Optional(PathSchema),
    ...limitFields,
  },
  { additionalProperties: false },
)
export type RunArgs = Static<typeof RunArgsSchema>

/** Limits with every default filled in. */
export interface Limits {
  cpuTimeMs: number
  wallTimeMs: number
  memoryKb: number
  fileSizeKb: number
  openFiles: number
  processes: number
  outputBytes: number
}

/** The limits of a run: its own, else its session's, else the defaults. */
export function resolveLimits(run: LimitArgs, session: LimitArgs = {}): Limits {
  const cpuTimeMs = run.time ?? session.time ?? CPU_TIME_MS.default
  const wallDefault = Math.min(Math.max(2 * cpuTimeMs, WALL_TIME_MS.defaultMin), WALL_TIME_MS.max)
  return {
    cpuTimeMs,
    wallTimeMs: run.wall ?? (run.time === undefined ? session.wall : undefined) ?? wallDefault,
    memoryKb: run.mem ?? session.mem ?? MEMORY_KB.default,
    fileSizeKb: run.fsize ?? session.fsize ?? FILE_SIZE_KB.default,
    openFiles: run.nofile ?? session.nofile ?? OPEN_FILES.default,
    processes: run.pids ?? session.pids ?? PROCESSES.default,
    outputBytes: run.output_limit ?? session.output_limit ?? OUTPUT_BYTES.default,
  }
}

/** Why a run ended: exactly one. */
export const CAUSES = [
  'exited',
  'signaled',
  'cpu_limit',
  'wall_limit',
  'memory_limit',
  'output_limit',
  'exec_failed',
  'cancelled',
  'session_ended',
  'worker_lost',
] as const
export type Cause = (typeof CAUSES)[number]

/** How a limit is enforced on this host. */
export type Enforcement = 'cgroup2' | 'cgroup1' | 'rlimit' | 'timer' | 'none'

export interface Usage {
  cpu_ms: number
  wall_ms: number
  /** 0 where no cgroup counts it. */
  memory_peak_kb: number
}

/** A run's result without its output, which travels as raw bytes: stdout first, then stderr. */
export interface RunMeta {
  run_id: string
  exit_code: number | null
  signal: number | null
  cause: Cause
  /** Why, where the cause alone does not say it; null otherwise. */
  error: string | null
  usage: Usage
  stdout_bytes: number
  stderr_bytes: number
  stdout_truncated: boolean
  stderr_truncated: boolean
}

export interface RunResult extends RunMeta {
  stdout: Uint8Array
  stderr: Uint8Array
}
