import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { install, isInPath } from './apt.mjs'
import { inProject } from './project.mjs'
import { carryOut, SetupError, say } from './say.mjs'
import { hashOf, isFresh, stamp } from './stamp.mjs'

const BUILD_STAMP = inProject('build/Release/.sources')
/** Written by `npm run prebuild`: the sources that the prebuilds are of. */
const PREBUILDS = inProject('prebuilds')
const PREBUILD_STAMP = join(PREBUILDS, '.sources')
const COMPILER = ['g++', 'make', 'python3']
/** With it init starts 0.8 ms faster (see native/init/Makefile); without it, it does the same. */
const MUSL = 'musl-dev'
/** Debian's own layout of Node's headers (package libnode-dev). */
const DEBIAN_HEADERS = '/usr/include/nodejs'

/** A prebuild of these very sources if it loads, else what node-gyp builds. */
export function ensureAddon() {
  const hash = addonHash()
  if (isFresh(BUILD_STAMP, hash) && loads()) return
  if (isFresh(PREBUILD_STAMP, hash)) {
    // node-gyp-build would prefer it.
    rmSync(inProject('build/Release'), { recursive: true, force: true })
    if (loads()) return
  }
  compile()
  if (!loads()) throw new SetupError('the addon was built but does not load; remove build/ and try again')
  stamp(BUILD_STAMP, hash)
}

export function stampPrebuilds() {
  stamp(PREBUILD_STAMP, addonHash())
}

function addonHash() {
  const isSource = (file) => !file.includes('/native/test/') && !file.endsWith('.md')
  return hashOf([inProject('native'), inProject('binding.gyp')], isSource)
}

/** In a process of its own, because an addon that crashes at loading would take this one with it. */
function loads() {
  const script = `require('node-gyp-build')(${JSON.stringify(inProject())})`
  return spawnSync(process.execPath, ['-e', script], { cwd: inProject(), stdio: 'ignore' }).status === 0
}

function compile() {
  const missing = ['cc', ...COMPILER].filter((program) => !isInPath(program))
  if (missing.length > 0) install(COMPILER, 'building the native addon')
  installMusl()
  const headers = headersOf(process.execPath)
  say(`building the native addon (node-gyp, headers in ${headers})`)
  const nodeGyp = inProject('node_modules/node-gyp/bin/node-gyp.js')
  // Not `rebuild`: that would throw away what else is in build/.
  const args = [nodeGyp, 'configure', 'build', `--nodedir=${headers}`, '--jobs=max']
  carryOut(process.execPath, args, { cwd: inProject(), remedy: 'the compiler says why above' })
}

/** If that is easy; it is not needed. */
function installMusl() {
  const isThere = readdirSync('/usr/lib').some(
    (name) => existsSync(`/usr/lib/${name}/rcrt1.o`) && name.includes('musl'),
  )
  if (isThere || process.getuid() !== 0 || !isInPath('apt-get')) return
  try {
    install([MUSL], 'a faster start of sandboxes')
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(`going on without ${MUSL}`)
  }
}

/** The folder for --nodedir: with it node-gyp needs no download. */
function headersOf(node) {
  const prefix = dirname(dirname(realpathSync(node)))
  if (existsSync(join(prefix, 'include/node/common.gypi'))) return prefix
  if (!hasDebianHeaders() && node === '/usr/bin/node') install(['libnode-dev'], "Node's headers")
  if (hasDebianHeaders()) return DEBIAN_HEADERS
  throw new SetupError(
    `Node's headers are neither in ${prefix}/include/node nor in ${DEBIAN_HEADERS}; install Node from nodejs.org, which brings them`,
  )
}

/** Of this major version. */
function hasDebianHeaders() {
  const file = join(DEBIAN_HEADERS, 'src/node_version.h')
  if (!existsSync(join(DEBIAN_HEADERS, 'common.gypi')) || !existsSync(file)) return false
  const [, major] = /#define NODE_MAJOR_VERSION (\d+)/.exec(readFileSync(file, 'utf8')) ?? []
  return major === process.versions.node.split('.')[0]
}

/** Makefiles of the tests that need no Node. */
export function nativeTestFolders() {
  const folder = inProject('native/test')
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, 'Makefile')))
    .map(({ name }) => join(folder, name))
    .sort()
}
