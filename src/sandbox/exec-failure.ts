/** Why a command could not be executed, told in the words and with the exit codes of a shell. */
import { SandboxError } from '../../proto/errors.ts'
import type { NativeOutcome } from './binding.ts'

/** Exit codes of POSIX shells (XCU 2.8.2) for a command that was not found, or found and not executable. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126

export interface ExecFailure {
  exitCode: typeof NOT_FOUND | typeof NOT_EXECUTABLE
  error: string
}

const EXEC_ERRORS: Record<string, string> = {
  EACCES: 'not executable',
  EPERM: 'not executable',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENOEXEC: 'not a program: it is neither a binary of this machine nor a script that begins with #!',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'name too long',
  E2BIG: 'arguments and environment are too long',
  ENOMEM: 'not enough memory to execute',
  ETXTBSY: 'is open for writing',
  ELIBBAD: 'its interpreter cannot be executed',
}

function cwdFailure(cwd: string, errno: string): ExecFailure {
  const why =
    errno === 'ENOENT' ? 'does not exist' : errno === 'ENOTDIR' ? 'is not a directory' : `: ${errno}`
  return { exitCode: NOT_EXECUTABLE, error: `cwd ${why}: ${cwd}` }
}

/**
 * `programExists` asks whether the program's file is there: ENOENT is also what a script gets whose interpreter
 * is missing. Throws `sandbox_failed` where it was not the caller's command that was at fault.
 */
export async function execFailure(
  outcome: NativeOutcome,
  command: string,
  cwd: string,
  programExists: (path: string) => Promise<boolean>,
): Promise<ExecFailure> {
  if (outcome.stage === 'cwd') return cwdFailure(cwd, outcome.error)
  if (outcome.stage !== 'exec') {
    throw new SandboxError('sandbox_failed', `The command could not be started: ${outcome.stage} failed`, {
      cause: new Error(`exec stage ${outcome.stage}: ${outcome.error}`),
    })
  }
  if (outcome.error !== 'ENOENT') {
    return {
      exitCode: NOT_EXECUTABLE,
      error: `${EXEC_ERRORS[outcome.error] ?? `cannot execute (${outcome.error})`}: ${command}`,
    }
  }
  if (command.startsWith('/') && (await programExists(command))) {
    return { exitCode: NOT_EXECUTABLE, error: `its interpreter does not exist: ${command}` }
  }
  return { exitCode: NOT_FOUND, error: `command not found: ${command}` }
}
