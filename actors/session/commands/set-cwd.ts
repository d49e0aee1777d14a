import { SandboxError } from '../../../proto/errors.ts'
import { SetCwdArgsSchema } from '../../../proto/session.ts'
import { checkPath } from '../../arguments.ts'
import type { Sandbox } from '../../ports.ts'
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
      await checkDirectory(sandbox, cwd)
      return { value: {}, change: { cwd }, events: [{ type: 'session.cwd_set', data: { cwd } }] }
    },
  }),
})

/** The session is there, only its new directory is not: 400, because a 404 would say that the session is unknown. */
async function checkDirectory(sandbox: Sandbox, cwd: string): Promise<void> {
  try {
    await sandbox.checkDirectory(cwd)
  } catch (thrown) {
    const error = SandboxError.from(thrown)
    if (error.code !== 'path_not_found' && error.code !== 'not_a_directory') throw error
    throw new SandboxError('not_a_directory', `cwd: ${error.message}`, { field: 'cwd', cause: error })
  }
}
