/** Lists of caller's strings, cut to what an event may carry. */
import { MAX_EVENT_TEXT_LENGTH } from '../../proto/events.ts'
import type { Env } from '../../proto/run.ts'

export function envNames(env: Env): { env_names: string[]; env_names_truncated?: true } {
  const { texts, truncated } = clip(Object.keys(env))
  return truncated ? { env_names: texts, env_names_truncated: true } : { env_names: texts }
}

export function commandText(command: string[]): { command: string[]; command_truncated?: true } {
  const { texts, truncated } = clip(command)
  return truncated ? { command: texts, command_truncated: true } : { command: texts }
}

/** The strings up to the bound; the one that crosses it is cut, those after it are left out. */
function clip(texts: string[]): { texts: string[]; truncated: boolean } {
  let room = MAX_EVENT_TEXT_LENGTH
  for (const [index, text] of texts.entries()) {
    if (text.length > room) {
      return { texts: [...texts.slice(0, index), text.slice(0, room)], truncated: true }
    }
    room -= text.length
  }
  return { texts, truncated: false }
}
