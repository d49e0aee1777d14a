/** Checks arguments against their schema and says in the caller's own terms which field is wrong. */
import type { Static, TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import type { TLocalizedValidationError } from 'typebox/error'
import { invalid, SandboxError } from '../proto/errors.ts'

/** Compiling takes milliseconds, checking microseconds: each schema is compiled once. */
const validators = new WeakMap<TSchema, Validator>()

function validatorOf(schema: TSchema): Validator {
  const known = validators.get(schema)
  if (known !== undefined) return known
  const compiled = Compile(schema) as unknown as Validator
  validators.set(schema, compiled)
  return compiled
}

/**
 * `args` as the schema types it; absent arguments count as none, a top-level null as an absent field.
 * Throws `invalid_argument` naming the first field that is wrong.
 */
export function validate<S extends TSchema>(schema: S, args: unknown): Static<S> {
  const present = withoutNulls(args ?? {})
  const validator = validatorOf(schema)
  if (validator.Check(present)) return present as Static<S>
  throw describe(present, validator.Errors(present))
}

function withoutNulls(args: unknown): unknown {
  if (typeof args !== 'object' || args === null || Array.isArray(args)) return args
  const entries = Object.entries(args)
  if (!entries.some(([, value]) => value === null)) return args
  return Object.fromEntries(entries.filter(([, value]) => value !== null))
}

function describe(args: unknown, errors: TLocalizedValidationError[]): SandboxError {
  // An unknown field shows first as a value against the schema `false`, which says nothing to a caller.
  const error = errors.find(({ keyword }) => keyword !== 'boolean')
  if (error === undefined) return new SandboxError('invalid_argument', 'The arguments are not valid.')
  const { field, value } = locate(args, error.instancePath)
  switch (error.keyword) {
    case 'required':
      return invalid(join(field, error.params.requiredProperties[0] ?? ''), 'is required')
    case 'additionalProperties':
      return invalid(join(field, error.params.additionalProperties[0] ?? ''), 'is not a known field')
    case 'const': {
      const allowed = errors.filter((other) => other.instancePath === error.instancePath)
      return invalid(field, `must be ${allowed.flatMap(allowedValue).join(' or ')}`)
    }
    case 'pattern':
      return invalid(field, describePattern(String(error.params.pattern), value))
    case 'minItems':
      return invalid(field, error.params.limit === 1 ? 'must not be empty' : error.message)
    default:
      if (field !== '') return invalid(field, error.message)
      return new SandboxError('invalid_argument', `The arguments ${error.message}.`)
  }
}

function allowedValue(error: TLocalizedValidationError): string[] {
  return error.keyword === 'const' ? [JSON.stringify(error.params.allowedValue)] : []
}

/** The patterns of proto/ forbid NUL, and those of paths demand a slash before it. */
function describePattern(pattern: string, value: unknown): string {
  const needsSlash = pattern.startsWith('^/') && !String(value).startsWith('/')
  return needsSlash ? 'must be an absolute path' : 'must not contain NUL'
}

/** Follows a JSON pointer: its field in the form `env.A` or `command[0]`, and the value there. */
function locate(root: unknown, pointer: string): { field: string; value: unknown } {
  let field = ''
  let value = root
  for (const escaped of pointer.split('/').slice(1)) {
    const key = escaped.replaceAll('~1', '/').replaceAll('~0', '~')
    field = Array.isArray(value) ? `${field}[${key}]` : join(field, key)
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
  }
  return { field, value }
}

/** Names come from callers: long ones are cut, so that an error stays readable. */
const MAX_SHOWN_NAME = 64

export function join(field: string, name: string): string {
  const shown = name.length > MAX_SHOWN_NAME ? `${name.slice(0, MAX_SHOWN_NAME)}…` : name
  return field === '' ? shown : `${field}.${shown}`
}
