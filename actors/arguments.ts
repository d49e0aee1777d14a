/** Bounds of arguments that a JSON schema cannot express: bytes, names of variables, sums. */
import { invalid } from '../proto/errors.ts'
import {
  MAX_ARGUMENT_BYTES,
  MAX_ARGUMENT_STRING_BYTES,
  MAX_ENV_VARIABLES,
  MAX_METADATA_BYTES,
  MAX_PATH_BYTES,
} from '../proto/limits.ts'
import type { Env } from '../proto/run.ts'
import { join } from './validate.ts'

/** Half a character would silently become U+FFFD on its way to the kernel. */
const LONE_SURROGATE = /\p{Surrogate}/u

function checkText(field: string, text: unknown, maxBytes: number): void {
  // The schema's record pattern does not match names with a line break, so their values come here unchecked.
  if (typeof text !== 'string') throw invalid(field, 'must be string')
  if (text.includes('\0')) throw invalid(field, 'must not contain NUL')
  if (LONE_SURROGATE.test(text)) throw invalid(field, 'must be well-formed Unicode')
  const bytes = Buffer.byteLength(text)
  if (bytes > maxBytes) throw invalid(field, `has ${bytes} bytes, at most ${maxBytes} are allowed`)
}

/** Variables as one caller gives them. */
export function checkEnv(env: Env, field = 'env'): void {
  for (const [name, value] of Object.entries(env)) {
    if (name === '') throw invalid(field, 'has a variable without a name')
    if (name.includes('=')) throw invalid(join(field, name), 'must not have `=` in its name')
    checkText(join(field, name), name, MAX_ARGUMENT_STRING_BYTES)
    checkText(join(field, name), value, MAX_ARGUMENT_STRING_BYTES - Buffer.byteLength(name) - 1)
  }
  checkEnvSize(env, field)
}

/** What a session's variables come to once merged. */
export function checkEnvSize(env: Env, field = 'env'): void {
  const count = Object.keys(env).length
  if (count > MAX_ENV_VARIABLES) {
    throw invalid(field, `comes to ${count} variables, at most ${MAX_ENV_VARIABLES} are allowed`)
  }
  const bytes = envBytes(env)
  if (bytes > MAX_ARGUMENT_BYTES) {
    throw invalid(field, `comes to ${bytes} bytes, at most ${MAX_ARGUMENT_BYTES} are allowed`)
  }
}

export function checkCommand(command: string[]): void {
  command.forEach((argument, index) => {
    checkText(`command[${index}]`, argument, MAX_ARGUMENT_STRING_BYTES)
  })
  if (command[0] === '') throw invalid('command[0]', 'must name a program')
}

/** The kernel counts arguments and environment together. */
export function checkArgumentBytes(command: string[], env: Env): void {
  checkEnvSize(env)
  const bytes = command.reduce((sum, argument) => sum + Buffer.byteLength(argument) + 1, envBytes(env))
  if (bytes > MAX_ARGUMENT_BYTES) {
    const limit = `at most ${MAX_ARGUMENT_BYTES} are allowed`
    throw invalid('command', `arguments and environment come to ${bytes} bytes, ${limit}`)
  }
}

/** `NAME=value` and a terminator each. */
function envBytes(env: Env): number {
  let bytes = 0
  for (const [name, value] of Object.entries(env)) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 2
  }
  return bytes
}

/** The schema counts characters, the kernel bytes. */
export function checkPath(field: string, path: string): void {
  if (!path.startsWith('/')) throw invalid(field, 'must be an absolute path')
  checkText(field, path, MAX_PATH_BYTES)
}

export function checkMetadata(metadata: Record<string, string>): void {
  for (const [name, value] of Object.entries(metadata)) {
    checkText(join('metadata', name), name, MAX_METADATA_BYTES)
    checkText(join('metadata', name), value, MAX_METADATA_BYTES)
  }
}
