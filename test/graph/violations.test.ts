import test from 'ava'
import { packageRoot } from '../../src/config/package-root.ts'
import { sourceFiles } from './source-files.ts'
import { violations } from './violations.ts'

const complaints = (path: string, text: string) => violations([{ path, text }])

const REFUSED: [path: string, text: string, complaint: string][] = [
  ['proto/x.ts', "import { y } from '../actors/y.ts'", 'imports actors/y.ts, which proto may not'],
  ['proto/x.ts', "import { readFileSync } from 'node:fs'", 'imports node:fs, and proto does no I/O'],
  ['proto/x.ts', "import pino from 'pino'", 'imports pino, which proto may not'],
  ['actors/a/x.ts', "import { y } from '../../src/y.ts'", 'imports src/y.ts, which actors may not'],
  ['actors/x.ts', "export * from '../src/bus/api.ts'", 'imports src/bus/api.ts, which actors may not'],
  ['actors/x.ts', "import { connect } from 'nats'", 'imports nats, which only src/bus may'],
  ['actors/x.ts', "import fs from 'node:fs/promises'", 'imports node:fs/promises, and actors does no I/O'],
  ['src/worker/x.ts', "import type { Msg } from 'nats'", 'imports nats, which only src/bus may'],
  ['src/cli/x.ts', "const nats = await import('nats')", 'imports nats, which only src/bus may'],
  ['src/worker/x.ts', "import x from '@fastify/cors'", 'imports @fastify/cors, which only src/http may'],
  ['src/http/x.ts', "import { s } from '@grpc/grpc-js'", 'imports @grpc/grpc-js, which only src/grpc may'],
  ['src/http/x.ts', "import { w } from '../worker/w.ts'", 'imports src/worker/w.ts, which src/http may not'],
  ['src/http/x.ts', "import { a } from '../../actors/a.ts'", 'imports actors/a.ts, which src/http may not'],
  [
    'src/grpc/x.ts',
    "import '../sandbox/binding.ts'",
    'imports src/sandbox/binding.ts, which src/grpc may not',
  ],
  ['src/http/x.ts', "import { s } from '../service.ts'", 'imports src/service.ts, which src/http may not'],
  ['src/x.ts', "import { t } from '../test/t.ts'", 'imports test/t.ts, which src may not'],
  [
    'src/worker/x.ts',
    "r(u)('node-gyp-build')\nrequire('node-gyp-build')",
    'imports node-gyp-build, which only src/sandbox may',
  ],
  ['sdk/typescript/x.ts', "import { y } from '../../src/y.ts'", 'imports src/y.ts, which sdk may not'],
  ['src/bus/x.ts', 'const { PATH } = process.env', 'reads process.env'],
  ['actors/x.ts', 'process.env.HOME', 'reads process.env'],
  ['src/bus/x.ts', "process['env']", 'reads process.env'],
  ['src/bus/x.ts', "nc.subscribe('osb.v1.evt.>')", 'has a NATS subject'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the source that is tested
  ['proto/x.ts', 'const s = `osb.v2.${tenant}`', 'has a NATS subject'],
  ['src/utils.ts', '', 'the name does not say what is in it'],
  ['native/helpers.c', '', 'the name does not say what is in it'],
  ['src/x.ts', 'x\n'.repeat(301), '301 lines, more than 300, and does not say why'],
]

for (const [path, text, complaint] of REFUSED) {
  test(`refused: ${path}: ${text.slice(0, 60).trim() || complaint}`, (t) => {
    t.deepEqual(complaints(path, text), [`${path}: ${complaint}`])
  })
}

const ALLOWED: [path: string, text: string][] = [
  ['actors/x.ts', "import { a } from '../proto/a.ts'\nimport { setup } from 'xstate'"],
  ['actors/x.ts', "import { compile } from 'typebox/compile'"],
  ['src/bus/x.ts', "import { connect } from 'nats'\n// osb.v1.ctl: process.env is read elsewhere"],
  ['src/http/x.ts', "import { c } from '../bus/sandbox-client.ts'\nimport { f } from '../in-flight.ts'"],
  ['src/cli/x.ts', "import { startService } from '../service.ts'"],
  ['src/config/x.ts', "const url = 'http://x' /* ' */ + process.env.URL"],
  ['src/x.ts', 'x\n'.repeat(300)],
  ['src/x.ts', `// Longer than 300 lines because it is a table.\n${'x\n'.repeat(300)}`],
]

for (const [path, text] of ALLOWED) {
  test(`allowed: ${path}: ${text.slice(0, 60).trim()}`, (t) => {
    t.deepEqual(complaints(path, text), [])
  })
}

test('the check reads the whole project', (t) => {
  const paths = sourceFiles(packageRoot).map(({ path }) => path)
  for (const path of ['proto/subjects.ts', 'actors/ports.ts', 'src/bus/api.ts', 'infra/bootstrap.mjs']) {
    t.true(paths.includes(path), path)
  }
})
