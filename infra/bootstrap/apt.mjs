import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { carryOut, SetupError, say } from './say.mjs'

let updated = false

/** Installs packages of the distribution. `purpose` says what for; throws SetupError with what to do by hand. */
export function install(packages, purpose) {
  const names = packages.join(' ')
  if (!isInPath('apt-get')) {
    throw new SetupError(
      `${purpose} needs ${names}, and there is no apt-get; install them with your package manager`,
    )
  }
  if (process.getuid() !== 0) {
    throw new SetupError(`${purpose} needs ${names}; run as root, or: sudo apt-get install ${names}`)
  }
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    remedy: `try by hand: apt-get update && apt-get install ${names}`,
  }
  say(`installing ${names} with apt-get (${purpose})`)
  if (!updated) carryOut('apt-get', ['update', '-q'], options)
  updated = true
  carryOut('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], options)
}

export function isInPath(program) {
  return (process.env.PATH ?? '').split(':').some((folder) => isExecutable(join(folder, program)))
}

export function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
