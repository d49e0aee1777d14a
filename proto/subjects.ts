/**
 * Every NATS subject of OpenSandbox. No other file contains a subject literal.
 *
 * Version second, tenant fourth token, so the permissions of a front-end are a handful of wildcards.
 * Every variable part is a single token: letters, digits, `-` and `_` only.
 */

/** The first two tokens of every subject; a breaking change of the protocol gets a new version. */
const ROOT = 'osb.v1'

/** Tenant of requests that name none. */
export const DEFAULT_TENANT = 'default'

/** Work that any worker with room may take. */
export type ControlVerb = 'create' | 'run'

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/

/** Whether `text` may stand as one token of a subject: 1 to 64 letters, digits, `-` or `_`. */
export function isSubjectToken(text: string): boolean {
  return TOKEN.test(text)
}

function token(text: string): string {
  if (!isSubjectToken(text)) throw new RangeError(`not a subject token: ${JSON.stringify(text)}`)
  return text
}

export const subjects = {
  /** osb.v1.ctl.<tenant>.create|run: one worker of the queue group answers. */
  control: (tenant: string, verb: ControlVerb) => `${ROOT}.ctl.${token(tenant)}.${verb}`,
  /** What a worker with room subscribes to, in queue group {@link WORKER_QUEUE}. */
  controlOfAllTenants: (verb: ControlVerb) => `${ROOT}.ctl.*.${verb}`,
  /** osb.v1.list.<tenant>: every worker answers with its own sessions. */
  list: (tenant: string) => `${ROOT}.list.${token(tenant)}`,
  listOfAllTenants: () => `${ROOT}.list.*`,
  /** osb.v1.cmd.<tenant>.<session>.<verb>: only the session's owner subscribes. */
  command: (tenant: string, sessionId: string, verb: string) =>
    `${ROOT}.cmd.${token(tenant)}.${token(sessionId)}.${token(verb)}`,
  commandsOfSession: (tenant: string, sessionId: string) =>
    `${ROOT}.cmd.${token(tenant)}.${token(sessionId)}.*`,
  /** osb.v1.cancel.<tenant>.<request>: ends what any worker does for that request. */
  cancel: (tenant: string, requestId: string) => `${ROOT}.cancel.${token(tenant)}.${token(requestId)}`,
  allCancels: () => `${ROOT}.cancel.*.*`,
  /** osb.v1.evt.<tenant>.<session>: the event stream. */
  events: (tenant: string, sessionId: string) => `${ROOT}.evt.${token(tenant)}.${token(sessionId)}`,
  /** Of a session whose tenant is not given; ids are unique over all tenants. */
  eventsOfSession: (sessionId: string) => `${ROOT}.evt.*.${token(sessionId)}`,
  eventsOfTenant: (tenant: string) => `${ROOT}.evt.${token(tenant)}.>`,
  allEvents: () => `${ROOT}.evt.>`,
  /** osb.v1.worker.<worker>.info: a worker's heartbeat. */
  workerInfo: (workerId: string) => `${ROOT}.worker.${token(workerId)}.info`,
  allWorkerInfo: () => `${ROOT}.worker.*.info`,
  /** osb.v1.worker.census: every worker publishes its info at once when asked. */
  workerCensus: () => `${ROOT}.worker.census`,
} as const

/** Queue group of the workers, for control subjects. */
export const WORKER_QUEUE = 'workers'

/** JetStream stream that keeps the events. */
export const EVENT_STREAM = 'OSB_EVENTS'

/** Of the subjects of every version. */
const OWN_PREFIX = 'osb.'
const INBOX_PREFIX = '_INBOX.'

/**
 * First tokens of the inboxes of a user: with those of each apart, permissions can keep a service from reading the
 * answers to others. Users whose name is no token share theirs, as do connections without a user.
 */
export function inboxPrefix(user: string | undefined): string {
  return user === undefined || !isSubjectToken(user) ? INBOX_PREFIX.slice(0, -1) : INBOX_PREFIX + user
}

/** Whether `subject` is an inbox, the only kind of subject that a message may have us publish requests to. */
export function isInbox(subject: string): boolean {
  return subject.startsWith(INBOX_PREFIX)
}

/**
 * Whether an answer may go to `subject`. Whoever publishes chooses the reply subject, and the server does not hold it
 * against the publisher's permissions: an answer must not become a command to another tenant or to the server itself.
 */
export function isReplySubject(subject: string): boolean {
  return !subject.startsWith(OWN_PREFIX) && !subject.startsWith('$')
}

/** Takes a cancel subject apart; undefined where it is none. */
export function parseCancel(subject: string): { tenant: string; requestId: string } | undefined {
  const [root, version, kind, tenant, requestId] = subject.split('.')
  if (`${root}.${version}` !== ROOT || kind !== 'cancel') return undefined
  return tenant === undefined || requestId === undefined ? undefined : { tenant, requestId }
}

/** Takes a control, list or command subject apart; undefined where it is none of ours. */
export function parseSubject(
  subject: string,
): { tenant: string; sessionId?: string; verb: string } | undefined {
  const [root, version, kind, tenant, third, fourth] = subject.split('.')
  if (`${root}.${version}` !== ROOT || tenant === undefined) return undefined
  if (kind === 'list') return { tenant, verb: 'list' }
  if (kind === 'ctl' && third !== undefined) return { tenant, verb: third }
  if (kind === 'cmd' && third !== undefined && fourth !== undefined) {
    return { tenant, sessionId: third, verb: fourth }
  }
  return undefined
}
