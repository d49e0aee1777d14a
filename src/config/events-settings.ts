/** Settings of `opensandbox events`. */
import { DEFAULT_TENANT, isSubjectToken } from '../../proto/subjects.ts'
import { text, toggle } from './setting.ts'

export const EVENTS_SETTINGS = {
  follow: toggle({
    flag: 'follow',
    description: 'Goes on with new events until interrupted',
    commands: ['events'],
  }),
  session: text({
    flag: 'session',
    default: null,
    placeholder: 'ID',
    check: (value) => (isSubjectToken(value) ? undefined : 'is not a session id'),
    description: 'Only events of this session',
    commands: ['events'],
  }),
  tenant: text({
    flag: 'tenant',
    default: DEFAULT_TENANT,
    placeholder: 'NAME',
    check: (value) => (isSubjectToken(value) ? undefined : 'is not 1 to 64 letters, digits, - or _'),
    description: 'Whose sessions',
    commands: ['events'],
  }),
  since: text({
    flag: 'since',
    default: null,
    placeholder: 'TIME',
    check: (value) =>
      Number.isNaN(sinceMsOf(value, 0))
        ? 'is neither a time (RFC 3339) nor an age like 90s, 5m, 2h'
        : undefined,
    description: 'Only events from this time on: RFC 3339, or an age like 90s, 5m, 2h, 1d',
    commands: ['events'],
  }),
  json: toggle({ flag: 'json', description: 'One CloudEvent as JSON a line', commands: ['events'] }),
} as const

const AGE_UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Absolute ms of `--since`; NaN where it is no time. */
export function sinceMsOf(text: string, nowMs: number): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  if (count === undefined) return /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN
  return nowMs - Number(count) * AGE_UNIT_MS[unit as keyof typeof AGE_UNIT_MS]
}
