import { isUtf8 } from 'node:buffer'
import type { RunArgs, RunResult } from '../../proto/run.ts'
import { decodeUtf8 } from '../utf8.ts'
import type { RunCommandRequest, RunCommandResponse } from './messages.ts'

/** proto3 cannot tell 0 and '' from not set, so both mean the default. */
export function decodeRun(request: RunCommandRequest): RunArgs {
  const given = {
    time: request.time_ms,
    wall: request.wall_ms,
    mem: request.mem_kb,
    fsize: request.fsize_kb,
    nofile: request.nofile,
    pids: request.pids,
    output_limit: request.output_limit_bytes,
    cwd: request.cwd,
  }
  const set = Object.entries(given).filter(([, value]) => value !== 0 && value !== '')
  return { command: request.command, env: request.env, ...Object.fromEntries(set) }
}

export function encodeRun(result: RunResult): RunCommandResponse {
  return {
    stdout: decodeUtf8(result.stdout),
    stderr: decodeUtf8(result.stderr),
    exit_code: exitCode(result),
    signal: result.signal ?? 0,
    cause: result.cause,
    error: result.error ?? '',
    usage: result.usage,
    stdout_truncated: result.stdout_truncated,
    stderr_truncated: result.stderr_truncated,
    run_id: result.run_id,
    ...(isUtf8(result.stdout) ? {} : { stdout_bytes: result.stdout }),
    ...(isUtf8(result.stderr) ? {} : { stderr_bytes: result.stderr }),
  }
}

/** As a shell tells it. -1 where no process ended, so that nobody takes it for success. */
function exitCode({ exit_code, signal }: RunResult): number {
  return signal === null ? (exit_code ?? -1) : 128 + signal
}
