/** How an error leaves over gRPC: a status with details for people, and metadata for programs. */
import { Metadata, type ServiceError } from '@grpc/grpc-js'
import { SandboxError } from '../../proto/errors.ts'

/** Percent-encoded, a character takes up to nine bytes, and clients take 8 KB of trailers in all. */
const MAX_DETAIL_CHARACTERS = 700
const MAX_FIELD_CHARACTERS = 100

/** What our fields are called in sandbox.proto, where that differs. */
const PROTO_FIELDS: Readonly<Record<string, string>> = {
  time: 'time_ms',
  mem: 'mem_kb',
  fsize: 'fsize_kb',
  wall: 'wall_ms',
  output_limit: 'output_limit_bytes',
}

export function toServiceError(error: SandboxError, requestId: string): ServiceError {
  const { field, details } = inProtoTerms(error)
  const metadata = requestMetadata(requestId)
  metadata.set('osb-code', error.code)
  if (field !== undefined) metadata.set('osb-field', printable(shorten(field, MAX_FIELD_CHARACTERS)))
  if (error.kind.retryAfterSecs !== undefined) {
    metadata.set('retry-after', String(error.kind.retryAfterSecs))
  }
  return Object.assign(new Error(error.message), {
    code: error.kind.grpc,
    details: shorten(details, MAX_DETAIL_CHARACTERS),
    metadata,
  })
}

/** Of every answer, good or bad. */
export function requestMetadata(requestId: string): Metadata {
  const metadata = new Metadata()
  metadata.set('x-request-id', requestId)
  return metadata
}

const FILE_ERRORS: ReadonlySet<string> = new Set([
  'path_not_found',
  'not_a_file',
  'not_a_directory',
  'disk_full',
  'payload_too_large',
  'file_refused',
])

/** The text for a response's `error` field where `thrown` is about the file; anything else is thrown on. */
export function fileErrorText(thrown: unknown): string {
  if (thrown instanceof SandboxError) {
    const badPath = thrown.code === 'invalid_argument' && thrown.field === 'path'
    if (badPath || FILE_ERRORS.has(thrown.code)) return thrown.message
  }
  throw thrown
}

function inProtoTerms({ field, message }: SandboxError): { field: string | undefined; details: string } {
  const renamed = field === undefined ? undefined : PROTO_FIELDS[field]
  if (renamed === undefined) return { field, details: message }
  const named = message.startsWith(`${field}:`)
  return { field: renamed, details: named ? renamed + message.slice(`${field}`.length) : message }
}

/** Cut with a mark. Lone surrogates, which cannot be percent-encoded, become U+FFFD. */
function shorten(text: string, maxCharacters: number): string {
  const cut = text.length <= maxCharacters ? text : `${text.slice(0, maxCharacters - 1)}…`
  return Buffer.from(cut).toString()
}

/** Metadata values are printable ASCII. */
function printable(text: string): string {
  return text.replace(/[^ -~]/gu, encodeURIComponent)
}
