/** From the words of a command line to a command. */
import { environment } from '../config/environment.ts'
import { helpOf, overview } from '../config/help.ts'
import { ConfigError, isCommand, type Parsed, parse } from '../config/parse.ts'
import type { CommandName } from '../config/setting.ts'
import { version } from '../config/version.ts'
import { StartError } from '../start-error.ts'

/** Exit codes beside those of a command that is run. */
const FAILED = 1
const MISUSED = 2

/** Loaded when called for: `run` must not wait for the packages of the service. */
const COMMANDS: Record<CommandName, () => Promise<(parsed: Parsed) => Promise<number>>> = {
  serve: async () => (await import('./serve.ts')).serve,
  run: async () => (await import('./run.ts')).run,
  events: async () => (await import('./events.ts')).events,
  doctor: async () => (await import('./doctor.ts')).doctor,
}

/** Resolves to the exit code. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args)
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof StartError || isTellable(error))) throw error
    process.stderr.write(`opensandbox: ${error.message.replaceAll('\n', ' ')}\n`)
    return error instanceof ConfigError ? MISUSED : FAILED
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [first, ...others] = asCommand(args)
  if (first === '--version' || first === '-V') return say(`${version}\n`)
  if (first === undefined || first === '--help' || first === '-h') return say(overview())
  if (first === 'help') {
    const [topic] = others
    if (topic === undefined) return say(overview())
    return say(helpOf(commandOf(topic)))
  }
  const command = commandOf(first)
  const parsed = parse(command, others, environment)
  if (parsed.help) return say(helpOf(command))
  return (await COMMANDS[command]())(parsed)
}

/** `opensandbox [FLAGS] --run [FLAGS] -- …` is the older way to write `opensandbox run [FLAGS] -- …`. */
function asCommand(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--')
  const index = args.indexOf('--run')
  const isFlag = index !== -1 && (end === -1 || index < end) && args[0]?.startsWith('--') === true
  return isFlag ? ['run', ...args.toSpliced(index, 1)] : args
}

function commandOf(word: string): CommandName {
  if (isCommand(word)) return word
  const kind = word.startsWith('-') ? 'flag' : 'command'
  throw new ConfigError(`unknown ${kind} ${JSON.stringify(word)}; see opensandbox --help`)
}

/** Errors that are made for people: their message says what to do. */
function isTellable(error: unknown): error is Error {
  return error instanceof Error && error.name === 'SandboxError'
}

function say(text: string): number {
  process.stdout.write(text)
  return 0
}
