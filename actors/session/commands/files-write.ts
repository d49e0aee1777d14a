import { FileWriteArgsSchema } from '../../../proto/files.ts'
import { MAX_FILE_BYTES } from '../../../proto/limits.ts'
import { checkPath } from '../../arguments.ts'
import { defineCommand } from '../command.ts'

/** Writes the message's body to one file. */
export const filesWrite = defineCommand({
  verb: 'files_write',
  schema: FileWriteArgsSchema,
  phases: ['ready'],
  activity: true,
  maxBodyBytes: MAX_FILE_BYTES,
  answersFirst: true,
  check: ({ path }) => checkPath('path', path),
  prepare: (_session, { args: { path }, body }) => ({
    async perform(sandbox) {
      await sandbox.writeFile(path, body)
      return { value: {}, events: [{ type: 'session.file_written', data: { path, bytes: body.length } }] }
    },
  }),
})
