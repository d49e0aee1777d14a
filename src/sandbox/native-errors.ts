/** What the engine's and the kernel's refusals mean to a caller. */
import { type ErrorCode, SandboxError } from '../../proto/errors.ts'
import type { NativeError } from './binding.ts'

type Refusal = [code: ErrorCode, detail: string]

const REFUSALS: Record<string, Refusal> = {
  ENOENT: ['path_not_found', 'no such file or directory'],
  ENOTDIR: ['not_a_directory', 'it, or a part of its path, is not a directory'],
  EISDIR: ['not_a_file', 'is a directory'],
  // init refuses what is neither a regular file nor a directory with EINVAL; ENXIO is the kernel's answer to opening
  // a socket, or a FIFO that nobody reads.
  EINVAL: ['not_a_file', 'is not a regular file'],
  ENXIO: ['not_a_file', 'is not a regular file'],
  ENOSPC: ['disk_full', 'no space left on the sandbox’s disk'],
  EDQUOT: ['disk_full', 'no space left on the sandbox’s disk'],
  // Its tmpfs is charged to the session's memory.
  ENOMEM: ['disk_full', 'the sandbox’s memory, which holds its files, is used up'],
  EFBIG: ['payload_too_large', 'the file is larger than one request may carry'],
  EOVERFLOW: ['payload_too_large', 'the directory has more entries than one answer may carry'],
  EROFS: ['file_refused', 'is on a read-only file system'],
  EACCES: ['file_refused', 'permission denied'],
  EPERM: ['file_refused', 'operation not permitted'],
  ELOOP: ['file_refused', 'too many symbolic links, or one that may not be followed'],
  EXDEV: ['file_refused', 'leads out of the sandbox'],
  ENAMETOOLONG: ['file_refused', 'the name is too long'],
  ETXTBSY: ['file_refused', 'is being executed'],
  EBUSY: ['file_refused', 'is in use'],
  EMLINK: ['file_refused', 'too many links'],
}

/** The engine's own: nothing is wrong with what was asked for. */
const ENGINE_REFUSALS: Record<string, Refusal> = {
  ESRCH: ['session_lost', 'The sandbox has ended'],
  EPIPE: ['session_lost', 'The sandbox has ended'],
  EAGAIN: ['too_many_runs', 'Too much is under way in this sandbox'],
  ESHUTDOWN: ['stopping', 'The service is stopping'],
}

export function engineError(thrown: NativeError): SandboxError {
  const [code, detail]: Refusal = ENGINE_REFUSALS[thrown.code] ?? [
    'sandbox_failed',
    'The sandbox could not do it',
  ]
  return new SandboxError(code, detail, { cause: thrown })
}

/** What a caller is told who asked for a file operation on `path`. */
export function fileError(path: string, thrown: NativeError): SandboxError {
  const refusal = REFUSALS[thrown.code]
  if (refusal === undefined) return engineError(thrown)
  return new SandboxError(refusal[0], `${path}: ${refusal[1]}`, { field: 'path', cause: thrown })
}
