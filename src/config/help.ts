/** Help and documentation, from the schema. */
import { settingsOf } from './parse.ts'
import { COMMANDS, type CommandName, defaultTextOf, type Setting, valueTextOf } from './setting.ts'

const USAGE: Record<CommandName, string> = {
  serve: 'opensandbox serve [FLAGS]',
  run: 'opensandbox run [FLAGS] -- COMMAND [ARGUMENT…]',
  events: 'opensandbox events [FLAGS]',
  doctor: 'opensandbox doctor [FLAGS]',
}

export function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map(({ length }) => length))
  const commands = Object.entries(COMMANDS).map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)
  return `${[
    'Runs untrusted commands in sandboxes on a plain Linux host.',
    '',
    'Usage: opensandbox COMMAND [FLAGS]',
    '',
    ...commands,
    '',
    'opensandbox help COMMAND lists the flags of a command; opensandbox --version says the version.',
  ].join('\n')}\n`
}

export function helpOf(command: CommandName): string {
  const flags = settingsOf(command).map(([, setting]) => {
    const value = setting.kind === 'integer' ? 'N' : valueTextOf(setting)
    return { left: `--${setting.flag}${value === '' ? '' : ` ${value}`}`, setting }
  })
  const width = Math.min(Math.max(...flags.map(({ left }) => left.length)), 32)
  const lines = flags.flatMap(({ left, setting }) => {
    const start = left.length > width ? [`  ${left}`, `  ${' '.repeat(width)}`] : [`  ${left.padEnd(width)}`]
    return [...start.slice(0, -1), `${start.at(-1)}  ${setting.description} ${parentheses(setting)}`]
  })
  return `${[COMMANDS[command], '', `Usage: ${USAGE[command]}`, '', ...lines].join('\n')}\n`
}

function parentheses(setting: Setting): string {
  const range = setting.kind === 'integer' ? `; ${valueTextOf(setting)}` : ''
  const variable = setting.variable === undefined ? '' : `; ${setting.variable}`
  return `(default: ${defaultTextOf(setting)}${range}${variable})`
}

/** The table of a command's settings in Markdown. */
export function markdownTable(command: CommandName): string {
  const rows = settingsOf(command).map(([, setting]) => [
    `\`--${setting.flag}\``,
    setting.variable === undefined ? '' : `\`${setting.variable}\``,
    valueTextOf(setting).replaceAll('|', '\\|'),
    defaultTextOf(setting),
    setting.description,
  ])
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [
    line(['flag', 'environment variable', 'value', 'default', 'what it does']),
    line(['---', '---', '---', '---', '---']),
    ...rows.map(line),
  ].join('\n')
}
