import { invalid, SandboxError } from '../../../proto/errors.ts'
import type { EventRecord } from '../../../proto/events.ts'
import {
  type FileError,
  type FileWriteBulkArgs,
  FileWriteBulkArgsSchema,
  type FileWriteBulkResult,
} from '../../../proto/files.ts'
import { MAX_BULK_BYTES } from '../../../proto/limits.ts'
import { checkPath } from '../../arguments.ts'
import type { Sandbox } from '../../ports.ts'
import { defineCommand, type Outcome } from '../command.ts'

/** Writes many files; one that cannot be written is an entry in `errors`, and the others are written. */
export const filesWriteBulk = defineCommand({
  verb: 'files_write_bulk',
  schema: FileWriteBulkArgsSchema,
  phases: ['ready'],
  activity: true,
  maxBodyBytes: MAX_BULK_BYTES,
  answersFirst: true,
  check(args) {
    if (totalBytes(args) <= MAX_BULK_BYTES) return
    throw new SandboxError('payload_too_large', `files: more than ${MAX_BULK_BYTES} bytes`, {
      field: 'files',
    })
  },
  checkBody(args, body) {
    const bytes = totalBytes(args)
    if (bytes !== body.length) {
      throw invalid('files', `the sizes come to ${bytes} bytes, the body has ${body.length}`)
    }
  },
  prepare: (_session, { args, body }) => ({
    perform: (sandbox, signal) => writeAll(sandbox, args, body, signal),
  }),
})

function totalBytes({ files }: FileWriteBulkArgs): number {
  return files.reduce((sum, { size }) => sum + size, 0)
}

/** One after the other, so that of two entries with the same path the later one wins. */
async function writeAll(
  sandbox: Sandbox,
  { files }: FileWriteBulkArgs,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<Outcome<FileWriteBulkResult>> {
  const errors: FileError[] = []
  const events: EventRecord[] = []
  let offset = 0
  for (const { path, size } of files) {
    const content = body.subarray(offset, offset + size)
    offset += size
    const error = signal.aborted ? interrupted() : await writeOne(sandbox, path, content)
    if (error === undefined) {
      events.push({ type: 'session.file_written', data: { path, bytes: size } })
    } else if (isAboutFile(error)) {
      errors.push({ path, error: error.message })
    } else {
      return { error, events }
    }
  }
  return { value: { success: errors.length === 0, errors }, events }
}

async function writeOne(
  sandbox: Sandbox,
  path: string,
  content: Uint8Array,
): Promise<SandboxError | undefined> {
  try {
    checkPath('path', path)
    await sandbox.writeFile(path, content)
    return undefined
  } catch (thrown) {
    return SandboxError.from(thrown)
  }
}

function interrupted(): SandboxError {
  return new SandboxError('session_ending', 'The session ended before all files were written.')
}

/** Whether the other files may still be written. */
function isAboutFile({ kind, code }: SandboxError): boolean {
  return (kind.http < 500 && code !== 'session_ending') || code === 'disk_full'
}
