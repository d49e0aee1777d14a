/** `npm run prebuild`: the addon for this platform in prebuilds/, and a note of the sources that it is of. */
import { dirname } from 'node:path'
import { stampPrebuilds } from './bootstrap/addon.mjs'
import { inProject } from './bootstrap/project.mjs'
import { carryOut } from './bootstrap/say.mjs'

const prefix = dirname(dirname(process.execPath))
carryOut(process.execPath, [inProject('node_modules/prebuildify/bin.js'), '--napi', '--strip'], {
  cwd: inProject(),
  env: { ...process.env, npm_config_nodedir: prefix },
  remedy: 'the compiler says why above',
})
stampPrebuilds()
