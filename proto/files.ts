import Type, { type Static } from 'typebox'
import { MAX_BULK_BYTES, MAX_BULK_FILES, MAX_FILE_BYTES } from './limits.ts'
import { PathSchema } from './run.ts'

/** `files_write`: the content is the message's body. */
export const FileWriteArgsSchema = Type.Object({ path: PathSchema }, { additionalProperties: false })
export type FileWriteArgs = Static<typeof FileWriteArgsSchema>

/**
 * `files_write_bulk`: the contents follow one another in the body, `size` bytes each.
 * A path is checked for each file on its own, because one bad file is an entry in `errors`, not the end of all.
 */
export const FileWriteBulkArgsSchema = Type.Object(
  {
    files: Type.Array(
      Type.Object(
        { path: Type.String(), size: Type.Integer({ minimum: 0, maximum: MAX_FILE_BYTES }) },
        { additionalProperties: false },
      ),
      { maxItems: MAX_BULK_FILES },
    ),
  },
  { additionalProperties: false },
)
export type FileWriteBulkArgs = Static<typeof FileWriteBulkArgsSchema>
export { MAX_BULK_BYTES }

export interface FileError {
  path: string
  error: string
}
export interface FileWriteBulkResult {
  success: boolean
  errors: FileError[]
}

/** `files_read` (the content is the answer's body) and `files_list`. */
export const FilePathArgsSchema = Type.Object({ path: PathSchema }, { additionalProperties: false })
export type FilePathArgs = Static<typeof FilePathArgsSchema>

export interface FileEntry {
  name: string
  path: string
  is_directory: boolean
  /** Bytes. */
  size: number
}
export interface FileListResult {
  files: FileEntry[]
}
