/** What the README lists must be what there is. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ERROR_KINDS } from '../../proto/errors.ts'
import { CAUSES } from '../../proto/run.ts'
import { packageRoot } from '../../src/config/package-root.ts'

const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8')

test('the table of errors has every code with its statuses, and no other', (t) => {
  const rows = Object.entries(ERROR_KINDS).map(
    ([code, { http, grpc, title }]) => `| \`${code}\` | ${http} | ${grpc} | ${title} |`,
  )
  const table = ['| code | HTTP | gRPC | |', '|---|---|---|---|', ...rows].join('\n')
  const [, written] = /<!-- errors -->\n([\s\S]*?)\n<!-- end -->/.exec(readme) ?? []
  t.is(written, table)
})

test('every cause of a run is explained, and no other', (t) => {
  const [, table] =
    /`cause` is exactly one of:\n\n\| cause \| \|\n\|---\|---\|\n([\s\S]*?)\n\n/.exec(readme) ?? []
  const named = [...(table ?? '').matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(\w+)`/g)].map(([, cause]) => cause ?? ''),
  )
  t.deepEqual(named.sort(), [...CAUSES].sort())
})

test('every file that the README names is there', (t) => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path = '']) => path)
  const code = [...readme.matchAll(/`((?:actors|benchmarks|infra|native|proto|src|test)\/[\w./-]+)`/g)].map(
    ([, path = '']) => path,
  )
  const missing = [...links, ...code].filter((path) => !existsSync(join(packageRoot, path)))
  t.deepEqual(missing, [])
  t.true(links.length + code.length > 20)
})
