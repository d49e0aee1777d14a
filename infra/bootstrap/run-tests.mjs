/** `npm test`: every check, one after another, and a count of all. */
import { spawn } from 'node:child_process'
import { basename } from 'node:path'
import { nativeTestFolders } from './addon.mjs'
import { inProject } from './project.mjs'
import { compile } from './typescript.mjs'

/** A stage that hangs fails; all of them together stay within the quarter of an hour that CI allows. */
const STAGE_TIMEOUT_MS = 10 * 60 * 1000

/** `patterns` choose compiled test files for ava. Resolves to the exit code. */
export async function runTests(patterns) {
  const stages = [
    ['types', types],
    ['lint', () => single('node_modules/@biomejs/biome/bin/biome', ['check', '.'])],
    ['folder graph', () => single('dist/test/graph/check.js', [])],
    ...nativeTestFolders().map((folder) => [`native ${basename(folder)}`, () => nativeTests(folder)]),
    ['ava', () => ava(patterns)],
  ]
  const lines = []
  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const [name, stage] of stages) {
    process.stdout.write(`\n── ${name}\n`)
    const startedAt = performance.now()
    const counts = await stage()
    for (const key of Object.keys(total)) total[key] += counts[key]
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
    lines.push(`${name.padEnd(16)} ${countsText(counts)} (${seconds} s)`)
  }
  process.stdout.write(`\n── summary\n${lines.join('\n')}\n\n${countsText(total)}\n`)
  return total.failed === 0 ? 0 : 1
}

function countsText({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

async function types() {
  const { status, output } = compile()
  process.stdout.write(output)
  return oneCheck(status === 0)
}

/** A script that is one check. */
async function single(script, args) {
  const { ok } = await show(process.execPath, [inProject(script), ...args])
  return oneCheck(ok)
}

/** Each prints `N passed, N failed` (and `, N skipped`) at its end. */
async function nativeTests(folder) {
  const { ok, output } = await show('make', ['--no-print-directory', '-C', folder, 'check'])
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?/gm)].at(-1)
  if (found === undefined) return oneCheck(false)
  const [passed, failed, skipped] = found.slice(1).map((count) => Number(count ?? 0))
  return { passed, failed: failed === 0 && !ok ? 1 : failed, skipped }
}

/** It reports each passed test by a mark, and the others by a count at its end. */
async function ava(patterns) {
  const { ok, output } = await show(process.execPath, [
    inProject('node_modules/ava/entrypoints/cli.mjs'),
    ...patterns,
  ])
  const count = (pattern) =>
    [...output.matchAll(pattern)].reduce((sum, [, number]) => sum + Number(number), 0)
  const passed = [...output.matchAll(/^\s*✔ /gm)].length
  const skipped = count(/^\s*(\d+) tests? (?:skipped|todo)$/gm)
  const failed =
    count(/^\s*(\d+) (?:tests?|hooks?) failed$/gm) +
    count(/^\s*(\d+) (?:unhandled rejections?|uncaught exceptions?)$/gm)
  // Files that crash or time out have no count of tests.
  return { passed, failed: failed === 0 && !ok ? 1 : failed, skipped }
}

function oneCheck(ok) {
  return ok ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 }
}

/** Runs a program, shows its output as it comes, and keeps it. */
function show(program, args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: inProject(), stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text) => {
        output += text
        process.stdout.write(text)
      })
    }
    const timer = setTimeout(() => {
      process.stdout.write(`\nended after ${STAGE_TIMEOUT_MS / 60_000} minutes\n`)
      child.kill('SIGKILL')
    }, STAGE_TIMEOUT_MS)
    child.on('error', (error) => {
      process.stdout.write(`${program}: ${error.message}\n`)
      resolve({ ok: false, output })
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ ok: code === 0, output })
    })
  })
}
