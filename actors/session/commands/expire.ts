import { NoArgsSchema } from '../../../proto/session.ts'
import { defineCommand } from '../command.ts'

/** Ends the session at once, as its own expiry would, but does not wait for commands to end first. */
export const expire = defineCommand({
  verb: 'expire',
  schema: NoArgsSchema,
  phases: ['creating', 'ready', 'ending'],
  activity: false,
  ends: 'expired',
})
