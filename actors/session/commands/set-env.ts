import { SetEnvArgsSchema } from '../../../proto/session.ts'
import { checkEnv, checkEnvSize } from '../../arguments.ts'
import { defineCommand } from '../command.ts'
import { envNames } from '../event-text.ts'

/** Merges variables over the session's. Runs under way keep theirs. */
export const setEnv = defineCommand({
  verb: 'set_env',
  schema: SetEnvArgsSchema,
  phases: ['ready'],
  activity: true,
  check: ({ env }) => checkEnv(env),
  decide(session, { args }) {
    const env = { ...session.env, ...args.env }
    checkEnvSize(env)
    return {
      value: {},
      change: { env },
      events: [{ type: 'session.env_set', data: envNames(args.env) }],
    }
  },
})
