/** Every command of a session, one line each. */
import type { AnyCommand } from '../command.ts'
import { deleteSession } from './delete.ts'
import { expire } from './expire.ts'
import { filesList } from './files-list.ts'
import { filesRead } from './files-read.ts'
import { filesWrite } from './files-write.ts'
import { filesWriteBulk } from './files-write-bulk.ts'
import { get } from './get.ts'
import { run } from './run.ts'
import { setCwd } from './set-cwd.ts'
import { setEnv } from './set-env.ts'

const ALL: AnyCommand[] = [
  run,
  setEnv,
  setCwd,
  get,
  deleteSession,
  expire,
  filesWrite,
  filesWriteBulk,
  filesRead,
  filesList,
]

/** By verb. */
export const COMMANDS: ReadonlyMap<string, AnyCommand> = new Map(
  ALL.map((command) => [command.verb, command]),
)
