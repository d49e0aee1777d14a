#!/usr/bin/env node
/**
 * From a fresh clone to a running service: `npm start`, `npm test`, `npm run setup`. Plain Node without dependencies,
 * because it is what installs them. Each step looks whether it is needed, and says one line if so.
 *
 *   node infra/bootstrap.mjs start [FLAGS of opensandbox serve]
 *   node infra/bootstrap.mjs test [patterns of test files, compiled]
 *   node infra/bootstrap.mjs setup      all that those two need
 *   node infra/bootstrap.mjs addon      only the native addon
 */
import { pathToFileURL } from 'node:url'
import { ensureAddon } from './bootstrap/addon.mjs'
import { checkHost } from './bootstrap/host.mjs'
import { ensureNatsServer } from './bootstrap/nats-server.mjs'
import { ensurePackages } from './bootstrap/packages.mjs'
import { inProject } from './bootstrap/project.mjs'
import { runTests } from './bootstrap/run-tests.mjs'
import { SetupError } from './bootstrap/say.mjs'
import { ensureCompiled } from './bootstrap/typescript.mjs'

async function main([verb, ...args]) {
  checkHost()
  if (verb !== 'addon') ensureNatsServer(args)
  ensurePackages()
  ensureAddon()
  if (verb === 'addon') return 0
  if (verb === 'test') return runTests(args)
  ensureCompiled()
  if (verb === 'setup') return 0
  // In this process: another one would have to pass on every signal.
  const { runCommandLine } = await import(pathToFileURL(inProject('dist/src/cli/command-line.js')).href)
  return runCommandLine(['serve', ...args])
}

const verbs = ['start', 'test', 'setup', 'addon']
try {
  if (!verbs.includes(process.argv[2])) {
    throw new SetupError(`usage: node infra/bootstrap.mjs ${verbs.join('|')}`)
  }
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`opensandbox: ${error.message}\n`)
  process.exitCode = 1
}
