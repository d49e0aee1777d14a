import { NoArgsSchema } from '../../../proto/session.ts'
import { defineCommand } from '../command.ts'

/** `deleteSession`, because `delete` is a word of the language. */
export const deleteSession = defineCommand({
  verb: 'delete',
  schema: NoArgsSchema,
  phases: ['creating', 'ready', 'ending'],
  activity: false,
  ends: 'deleted',
})
