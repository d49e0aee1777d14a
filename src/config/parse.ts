/** Settings from flags, environment variables and defaults, in that order. */
import { COMMANDS, type CommandName, type IntegerSetting, type Setting } from './setting.ts'
import { SETTINGS, type SettingName, type Settings } from './settings.ts'

/** What the person at the command line got wrong; the message names the flag or variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

export type Environment = Readonly<Record<string, string | undefined>>

export interface Parsed {
  settings: Settings
  /** What stands behind the flags: the command of `run`. */
  rest: string[]
  help: boolean
}

const entries = Object.entries(SETTINGS) as [SettingName, Setting][]

export function settingsOf(command: CommandName): [SettingName, Setting][] {
  return entries.filter(([, setting]) => setting.commands.includes(command))
}

/** Throws ConfigError. */
export function parse(command: CommandName, args: readonly string[], environment: Environment): Parsed {
  const { given, rest, help } = readFlags(command, args)
  const settings: Record<string, unknown> = {}
  for (const [name, setting] of entries) {
    const used = setting.commands.includes(command)
    settings[name] =
      (used ? (given.get(name) ?? fromEnvironment(setting, environment)) : undefined) ?? defaultOf(setting)
  }
  return { settings: settings as Settings, rest, help }
}

/** Variables that look like ours and are not: most likely misspelt. */
export function unknownVariables(environment: Environment): string[] {
  const known = new Set(entries.map(([, setting]) => setting.variable))
  return Object.keys(environment).filter((name) => name.startsWith('OPENSANDBOX_') && !known.has(name))
}

function defaultOf(setting: Setting): unknown {
  if (setting.kind === 'switch') return false
  if (setting.kind === 'list') return []
  return typeof setting.default === 'function' ? setting.default() : setting.default
}

/** An empty variable counts as none, because compose files and units cannot unset one. */
function fromEnvironment(setting: Setting, environment: Environment): unknown {
  const text = setting.variable === undefined ? undefined : environment[setting.variable]
  if (setting.variable === undefined || text === undefined || text === '') return undefined
  const texts = setting.kind === 'list' ? text.split(',').filter(Boolean) : [text]
  return texts.reduce<unknown>(
    (before, each) => accept(setting, setting.variable as string, each, before),
    undefined,
  )
}

function readFlags(command: CommandName, args: readonly string[]) {
  const byFlag = new Map(settingsOf(command).map(([name, setting]) => [setting.flag, { name, setting }]))
  const given = new Map<SettingName, unknown>()
  let help = false
  let index = 0
  for (; index < args.length; index += 1) {
    const arg = args[index] as string
    if (arg === '--') {
      index += 1
      break
    }
    if (arg === '--help' || arg === '-h') {
      help = true
      continue
    }
    if (!arg.startsWith('-') || arg === '-') break
    const [, flag = '', inline] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? []
    const found = byFlag.get(flag)
    if (found === undefined) throw new ConfigError(unknownFlag(command, arg))
    const { name, setting } = found
    let text = inline
    if (text === undefined && setting.kind === 'switch') text = 'true'
    if (text === undefined) {
      index += 1
      text = args[index]
      if (text === undefined || text.startsWith('--')) throw new ConfigError(`--${flag} needs a value`)
    }
    given.set(name, accept(setting, `--${flag}`, text, given.get(name)))
  }
  const rest = args.slice(index)
  if (rest.length > 0 && command !== 'run' && !help) {
    throw new ConfigError(`unexpected argument ${JSON.stringify(rest[0])}; see opensandbox help ${command}`)
  }
  return { given, rest, help }
}

function unknownFlag(command: CommandName, arg: string): string {
  const flag = arg.replace(/=.*/s, '')
  const owner = entries.find(([, setting]) => `--${setting.flag}` === flag)
  const hint = owner === undefined ? '' : ` (it belongs to opensandbox ${owner[1].commands.join(', ')})`
  return `unknown flag ${flag}${hint}; see opensandbox help ${command}`
}

/** The value of `text`; of a list, with `before` in front. `source` is the flag or variable that it comes from. */
function accept(setting: Setting, source: string, text: string, before: unknown): unknown {
  const refuse = (why: string) => new ConfigError(`${source}: ${JSON.stringify(text)} ${why}`)
  switch (setting.kind) {
    case 'integer':
      return acceptInteger(setting, text, refuse)
    case 'choice':
      if (!setting.choices.includes(text)) throw refuse(`is not one of ${setting.choices.join(', ')}`)
      return text
    case 'switch':
      if (/^(true|1|yes|on)$/i.test(text)) return true
      if (/^(false|0|no|off)$/i.test(text)) return false
      throw refuse('is neither true nor false')
    case 'text':
    case 'list': {
      if (text === '') throw refuse('is empty')
      if (text.includes('\0')) throw refuse('holds a NUL')
      const complaint = setting.check?.(text)
      if (complaint !== undefined) throw refuse(complaint)
      return setting.kind === 'list' ? [...((before as string[] | undefined) ?? []), text] : text
    }
  }
}

function acceptInteger(setting: IntegerSetting, text: string, refuse: (why: string) => Error): number {
  if (!/^\d{1,15}$/.test(text)) throw refuse(`is not a whole number from ${setting.min} to ${setting.max}`)
  const value = Number(text)
  if (value < setting.min || value > setting.max) {
    throw refuse(`is out of range: ${setting.min} to ${setting.max}`)
  }
  return value
}

export function isCommand(text: string): text is CommandName {
  return Object.hasOwn(COMMANDS, text)
}
