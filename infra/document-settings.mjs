/** `npm run docs`: writes the tables of settings into the documentation, between their markers. */
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { inProject } from './bootstrap/project.mjs'

const { markdownTable } = await import(pathToFileURL(inProject('dist/src/config/help.js')).href)
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, 'utf8')
  const next = text.replace(
    /(<!-- settings: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_all, start, command, end) => `${start}${markdownTable(command)}\n${end}`,
  )
  if (next !== text) writeFileSync(file, next)
}
