import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { busUnavailable } from './connection.ts'

/** Where distributions put it that keep daemons out of a user's PATH. */
const USUAL_DIRECTORIES = ['/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/usr/bin']
const VERSION_TIMEOUT_MS = 5_000
const MIN_MAJOR = 2
const MIN_MINOR = 9
const REMEDY = 'install it (`apt-get install nats-server`), name it by NATS_SERVER_BIN, or set NATS_URL'

export interface NatsBinary {
  path: string
  /** E.g. `2.9.10`. */
  version: string
}

/**
 * Looks at `given` alone if there is one, else in `searchPath` (as PATH is written) and where it usually is. Throws
 * `bus_unavailable` with the remedy.
 */
export async function findNatsServer(given: string | undefined, searchPath: string): Promise<NatsBinary> {
  const directories = [...searchPath.split(':').filter((directory) => directory !== ''), ...USUAL_DIRECTORIES]
  const candidates =
    given === undefined ? directories.map((directory) => join(directory, 'nats-server')) : [given]
  for (const path of candidates) {
    if (await isExecutable(path)) return { path, version: await supportedVersion(path) }
  }
  const place = given === undefined ? 'not found' : `not at ${given}`
  throw busUnavailable(`nats-server is ${place}: ${REMEDY}.`)
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}

async function supportedVersion(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: VERSION_TIMEOUT_MS }).catch(
    (thrown: Error) => {
      throw busUnavailable(`${path} does not tell its version: ${thrown.message}`, thrown)
    },
  )
  const [, version, major, minor] = /v((\d+)\.(\d+)\S*)/.exec(stdout) ?? []
  if (version === undefined) throw busUnavailable(`${path} is not a nats-server: it answers ${stdout.trim()}`)
  if (Number(major) > MIN_MAJOR || (Number(major) === MIN_MAJOR && Number(minor) >= MIN_MINOR)) return version
  throw busUnavailable(
    `${path} is version ${version}; ${MIN_MAJOR}.${MIN_MINOR} or newer is needed: ${REMEDY}.`,
  )
}
