import { FilePathArgsSchema } from '../../../proto/files.ts'
import { checkPath } from '../../arguments.ts'
import { defineCommand } from '../command.ts'

/** Answers with the file's content as the body. */
export const filesRead = defineCommand({
  verb: 'files_read',
  schema: FilePathArgsSchema,
  phases: ['ready'],
  activity: true,
  check: ({ path }) => checkPath('path', path),
  prepare: (_session, { args: { path } }) => ({
    perform: async (sandbox) => ({ value: {}, body: await sandbox.readFile(path) }),
  }),
})
