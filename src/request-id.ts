import { randomBytes } from 'node:crypto'
import { isSubjectToken } from '../proto/subjects.ts'

/** Random once a process, then counted: unique over all front-ends, and much cheaper than random bytes for each request. */
const prefix = randomBytes(9).toString('base64url')
let count = 0

export function newRequestId(): string {
  count += 1
  return `${prefix}-${count.toString(36)}`
}

/** The caller's own id where it can be one token of a bus subject, else a new one. */
export function requestIdFrom(given: unknown): string {
  return typeof given === 'string' && isSubjectToken(given) ? given : newRequestId()
}
