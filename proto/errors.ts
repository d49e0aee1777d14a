/**
 * The one table of errors. An error is a failure of ours or of the caller's request;
 * what the user's program does wrong is a run result, never an error.
 */

interface ErrorKind {
  /** HTTP status code. */
  readonly http: number
  /** gRPC status code (google.rpc.Code). */
  readonly grpc: number
  /** Short, constant summary (RFC 9457 `title`). */
  readonly title: string
  /** Seconds after which a retry makes sense; absent where a retry cannot help. */
  readonly retryAfterSecs?: number
}

export const ERROR_KINDS = {
  invalid_argument: { http: 400, grpc: 3, title: 'Invalid argument' },
  not_a_directory: { http: 400, grpc: 9, title: 'Not a directory' },
  session_not_found: { http: 404, grpc: 5, title: 'Session not found' },
  path_not_found: { http: 404, grpc: 5, title: 'Path not found' },
  route_not_found: { http: 404, grpc: 12, title: 'Route not found' },
  method_not_allowed: { http: 405, grpc: 12, title: 'Method not allowed' },
  not_a_file: { http: 400, grpc: 9, title: 'Not a regular file' },
  file_refused: { http: 400, grpc: 9, title: 'File operation refused' },
  session_ending: { http: 409, grpc: 9, title: 'Session is ending' },
  payload_too_large: { http: 413, grpc: 8, title: 'Payload too large' },
  disk_full: { http: 507, grpc: 8, title: 'Session disk is full' },
  unsupported_media_type: { http: 415, grpc: 3, title: 'Unsupported media type' },
  too_many_runs: { http: 429, grpc: 8, title: 'Too many concurrent commands', retryAfterSecs: 1 },
  internal: { http: 500, grpc: 13, title: 'Internal error' },
  sandbox_failed: { http: 500, grpc: 13, title: 'Sandbox could not be prepared' },
  session_lost: { http: 500, grpc: 15, title: 'Session was lost' },
  no_worker: { http: 503, grpc: 14, title: 'No worker has room', retryAfterSecs: 1 },
  bus_unavailable: { http: 503, grpc: 14, title: 'Message bus unavailable', retryAfterSecs: 1 },
  stopping: { http: 503, grpc: 14, title: 'Service is stopping', retryAfterSecs: 2 },
  timeout: { http: 504, grpc: 4, title: 'No answer in time', retryAfterSecs: 1 },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERROR_KINDS

/** The `type` of a problem document: a stable name, not an address to fetch. */
export const PROBLEM_TYPE_PREFIX = 'urn:opensandbox:error:'

/** RFC 9457 problem document; the wire form of an error on HTTP and on the bus. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  /** The field of the request that is wrong, e.g. `command[0]`. */
  field?: string
  request_id?: string
}

/** An error that a caller may be told about. Anything else that is thrown becomes `internal`. */
export class SandboxError extends Error {
  readonly code: ErrorCode
  readonly field?: string

  constructor(code: ErrorCode, detail: string, options: { field?: string; cause?: unknown } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'SandboxError'
    this.code = code
    if (options.field !== undefined) this.field = options.field
  }

  get kind(): ErrorKind {
    return ERROR_KINDS[this.code]
  }

  toProblem(requestId?: string): Problem {
    return {
      type: `${PROBLEM_TYPE_PREFIX}${this.code}`,
      title: this.kind.title,
      status: this.kind.http,
      detail: this.message,
      code: this.code,
      ...(this.field === undefined ? {} : { field: this.field }),
      ...(requestId === undefined ? {} : { request_id: requestId }),
    }
  }

  static fromProblem(problem: Problem): SandboxError {
    const code = problem.code in ERROR_KINDS ? problem.code : 'internal'
    return new SandboxError(code, problem.detail, problem.field === undefined ? {} : { field: problem.field })
  }

  /** `thrown` itself if it may be shown, else an `internal` error that carries it as its cause. */
  static from(thrown: unknown): SandboxError {
    if (thrown instanceof SandboxError) return thrown
    return new SandboxError('internal', 'An internal error occurred; the log has it under the request id.', {
      cause: thrown,
    })
  }
}

export function invalid(field: string, detail: string): SandboxError {
  return new SandboxError('invalid_argument', `${field}: ${detail}`, { field })
}
