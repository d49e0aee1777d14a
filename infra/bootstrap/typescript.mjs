import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { relative } from 'node:path'
import { inProject } from './project.mjs'
import { SetupError, say } from './say.mjs'
import { filesIn, hashOf, isFresh, stamp } from './stamp.mjs'

const STAMP = inProject('dist/.sources')
const CONFIG = inProject('tsconfig.json')
const COMMAND = inProject('dist/src/cli/main.js')

/** An installed package has dist and no sources; a clone has sources. */
export function ensureCompiled() {
  if (!existsSync(CONFIG)) return
  const hash = sourcesHash()
  if (isFresh(STAMP, hash)) return
  say('compiling TypeScript')
  const { status, output } = compile()
  if (status !== 0) {
    process.stderr.write(output)
    throw new SetupError('TypeScript found errors, listed above')
  }
  stamp(STAMP, hash)
}

/** Runs tsc, and removes from dist what has no source any more, so that no test of the past is run. */
export function compile() {
  const tsc = inProject('node_modules/typescript/bin/tsc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', inProject()], {
    cwd: inProject(),
    encoding: 'utf8',
  })
  for (const file of filesIn(inProject('dist'))) {
    const [, path] = /^(.*)\.js(\.map)?$/.exec(relative(inProject('dist'), file)) ?? []
    if (path !== undefined && !existsSync(inProject(`${path}.ts`))) rmSync(file, { force: true })
  }
  if (existsSync(COMMAND)) chmodSync(COMMAND, 0o755)
  return { status, output: `${stdout}${stderr}` }
}

function sourcesHash() {
  const { include } = JSON.parse(readFileSync(CONFIG, 'utf8'))
  const folders = include.map((pattern) => inProject(pattern.split('/')[0]))
  const isSource = (file) => file.endsWith('.ts')
  return hashOf([...folders], isSource, hashOf([CONFIG, inProject('package-lock.json')]))
}
