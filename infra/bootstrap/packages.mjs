import { inProject } from './project.mjs'
import { carryOut, say } from './say.mjs'
import { hashOf, isFresh, stamp } from './stamp.mjs'

/** In node_modules, so that it goes with it. */
const STAMP = inProject('node_modules/.opensandbox-lock')

/** `npm ci` where node_modules is not what the lock file says. */
export function ensurePackages() {
  const hash = hashOf([inProject('package-lock.json')])
  if (isFresh(STAMP, hash)) return
  say('installing npm packages (npm ci)')
  // Without scripts: none of the packages needs its own, and what is not run cannot do harm.
  const args = ['ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund']
  const npm = process.env.npm_execpath
  const [program, first] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []]
  carryOut(program, [...first, ...args], {
    cwd: inProject(),
    remedy: 'check the network and the registry that npm is configured for',
  })
  stamp(STAMP, hash)
}
