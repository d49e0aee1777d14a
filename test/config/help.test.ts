import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { helpOf, markdownTable, overview } from '../../src/config/help.ts'
import { packageRoot } from '../../src/config/package-root.ts'
import { settingsOf } from '../../src/config/parse.ts'
import { COMMANDS, type CommandName } from '../../src/config/setting.ts'

const commands = Object.keys(COMMANDS) as CommandName[]

test('the overview names every command', (t) => {
  for (const command of commands) t.regex(overview(), new RegExp(`^  ${command} `, 'm'))
})

for (const command of commands) {
  test(`help of ${command} has every flag with its variable`, (t) => {
    const help = helpOf(command)
    for (const [, { flag, variable, description }] of settingsOf(command)) {
      t.true(help.includes(`  --${flag}`), flag)
      t.true(help.includes(description), flag)
      if (variable !== undefined) t.true(help.includes(`; ${variable})`), variable)
    }
  })
}

test('a line of help gives flag, purpose, default, range and variable', (t) => {
  const line = helpOf('serve')
    .split('\n')
    .find((each) => each.includes('--grpc-port'))
  t.regex(
    line ?? '',
    /^ {2}--grpc-port N +Port of gRPC; 0 picks a free one \(default: 50051; 0-65535; OPENSANDBOX_GRPC_PORT\)$/,
  )
})

/** The tables stand between `<!-- settings: serve -->` and `<!-- end -->`. */
test('the tables in the documentation are those of the schema', (t) => {
  const files = ['README.md', 'docs/configuration.md', 'src/config/README.md', 'src/cli/README.md']
  let tables = 0
  for (const file of files.map((name) => join(packageRoot, name)).filter((path) => existsSync(path))) {
    const text = readFileSync(file, 'utf8')
    for (const [, command, table] of text.matchAll(/<!-- settings: (\w+) -->\n([\s\S]*?)\n<!-- end -->/g)) {
      t.is(table?.trim(), markdownTable(command as CommandName), `${file}, ${command}`)
      tables += 1
    }
  }
  t.true(tables > 0, 'no table of settings is found in the documentation')
})
