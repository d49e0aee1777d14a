/** The messages of proto/sandbox.proto as proto-loader decodes them, every field present. */

/** Seen as a number: beyond 2^53 it is not exact, but far beyond every bound, and so refused. */
type Uint64 = number

export interface RunCommandRequest {
  session_id: string
  command: string[]
  time_ms: Uint64
  mem_kb: Uint64
  fsize_kb: Uint64
  nofile: Uint64
  env: Record<string, string>
  cwd: string
  wall_ms: Uint64
  pids: Uint64
  output_limit_bytes: Uint64
  stdin: Buffer
}

export interface RunCommandResponse {
  stdout: string
  stderr: string
  exit_code: number
  signal: number
  cause: string
  error: string
  usage: { cpu_ms: number; wall_ms: number; memory_peak_kb: Uint64 }
  stdout_truncated: boolean
  stderr_truncated: boolean
  run_id: string
  stdout_bytes?: Uint8Array
  stderr_bytes?: Uint8Array
}

export interface WriteFileRequest {
  session_id: string
  path: string
  content: Buffer
}

export interface WriteFileResponse {
  success: boolean
  error: string
}

export interface WriteFilesRequest {
  session_id: string
  files: { path: string; content: Buffer }[]
}

export interface WriteFilesResponse {
  success: boolean
  errors: { path: string; error: string }[]
}

export interface ReadFileRequest {
  session_id: string
  path: string
}

export interface ReadFileResponse {
  content: Uint8Array
  error: string
}

export interface SetEnvRequest {
  session_id: string
  env: Record<string, string>
}

export interface SetCwdRequest {
  session_id: string
  cwd: string
}

export interface SuccessResponse {
  success: boolean
}
