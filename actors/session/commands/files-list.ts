import { type FileListResult, FilePathArgsSchema } from '../../../proto/files.ts'
import { checkPath } from '../../arguments.ts'
import { defineCommand, type Outcome } from '../command.ts'

export const filesList = defineCommand({
  verb: 'files_list',
  schema: FilePathArgsSchema,
  phases: ['ready'],
  activity: true,
  check: ({ path }) => checkPath('path', path),
  prepare: (_session, { args: { path } }) => ({
    perform: async (sandbox): Promise<Outcome<FileListResult>> => ({
      value: { files: await sandbox.listFiles(path) },
    }),
  }),
})
