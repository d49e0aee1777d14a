import { SetCwdArgsSchema } from '../../../proto/session.ts'
import { checkPath } from '../../arguments.ts'
import { defineCommand } from '../command.ts'

/** Changes the working directory of later runs, once the sandbox has said that it is a directory. */
export const setCwd = defineCommand({
  verb: 'set_cwd',
  schema: SetCwdArgsSchema,
  phases: ['ready'],
  activity: true,
  check: ({ cwd }) => checkPath('cwd', cwd),
  prepare: (_session, { args: { cwd } }) => ({
    async perform(sandbox) {
      await sandbox.checkDirectory(cwd)
      return { value: {}, change: { cwd }, events: [{ type: 'session.cwd_set', data: { cwd } }] }
    },
  }),
})
