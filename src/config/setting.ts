/** What a setting is. The schema (settings.ts) is a table of these; parsing, help and documentation follow from it. */

export const COMMANDS = {
  serve: 'Starts the service: HTTP, gRPC and the worker behind them',
  run: 'Runs one command in a fresh sandbox, without a service (also: opensandbox --run)',
  events: 'Prints the event stream of a running service',
  doctor: 'Checks the host and says how each limit is enforced',
} as const
export type CommandName = keyof typeof COMMANDS

interface Common {
  /** Without the dashes. */
  flag: string
  /** Environment variable; absent where a setting belongs to one call only. */
  variable?: string
  /** One sentence, for help and documentation. */
  description: string
  commands: readonly CommandName[]
}

export interface IntegerSetting extends Common {
  kind: 'integer'
  /** A function where it depends on the host; `defaultText` then says on what. */
  default: number | null | (() => number)
  defaultText?: string
  min: number
  max: number
}

export interface TextSetting<D extends string | null = string | null> extends Common {
  kind: 'text'
  default: D
  defaultText?: string
  /** Stands for the value in help, e.g. `DIR`. */
  placeholder: string
  /** Says what is wrong with a value, as the end of a sentence that starts with it. */
  check?: (value: string) => string | undefined
}

export interface ChoiceSetting<C extends string = string> extends Common {
  kind: 'choice'
  default: C
  choices: readonly C[]
}

/** Off unless given. */
export interface SwitchSetting extends Common {
  kind: 'switch'
}

/** May be given several times; its variable holds a list separated by commas. */
export interface ListSetting extends Common {
  kind: 'list'
  placeholder: string
  check?: (value: string) => string | undefined
}

export type Setting = IntegerSetting | TextSetting | ChoiceSetting | SwitchSetting | ListSetting

export type ValueOf<S> = S extends { kind: 'integer'; default: infer D }
  ? number | (null extends D ? null : never)
  : S extends TextSetting<infer D>
    ? string | (null extends D ? null : never)
    : S extends ChoiceSetting<infer C>
      ? C
      : S extends SwitchSetting
        ? boolean
        : S extends ListSetting
          ? string[]
          : never

// These spare the entries of the schema their `kind`, and keep the literal types of defaults and choices.
export function text<D extends string | null>(setting: Omit<TextSetting<D>, 'kind'>): TextSetting<D> {
  return { kind: 'text', ...setting }
}
export function choice<C extends string>(setting: Omit<ChoiceSetting<C>, 'kind'>): ChoiceSetting<C> {
  return { kind: 'choice', ...setting }
}
export function toggle(setting: Omit<SwitchSetting, 'kind'>): SwitchSetting {
  return { kind: 'switch', ...setting }
}
export function list(setting: Omit<ListSetting, 'kind'>): ListSetting {
  return { kind: 'list', ...setting }
}

/** Default as a person reads it. */
export function defaultTextOf(setting: Setting): string {
  if (setting.kind === 'switch') return 'off'
  if (setting.kind === 'list') return 'none'
  if (setting.kind === 'choice') return setting.default
  if (setting.defaultText !== undefined) return setting.defaultText
  return setting.default === null ? 'none' : String(setting.default)
}

/** What may be given, as a person reads it: `DIR`, `0-65535`, `json|pretty`; empty for a switch. */
export function valueTextOf(setting: Setting): string {
  if (setting.kind === 'integer') return `${setting.min}-${setting.max}`
  if (setting.kind === 'choice') return setting.choices.join('|')
  return setting.kind === 'switch' ? '' : setting.placeholder
}
