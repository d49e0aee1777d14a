import { NoArgsSchema } from '../../../proto/session.ts'
import { defineCommand } from '../command.ts'
import { describeSession } from '../context.ts'

/** Looking at a session does not keep it alive. */
export const get = defineCommand({
  verb: 'get',
  schema: NoArgsSchema,
  phases: ['creating', 'ready', 'ending'],
  activity: false,
  decide: (session, { at }) => ({ value: describeSession(session, at) }),
})
