import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { isReplySubject, isSubjectToken, parseCancel, parseSubject, subjects } from '../../proto/subjects.ts'

/** Spelled so that this file does not contain it. */
const ROOT = ['osb', 'v1'].join('.')
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm
const PROJECT = join(import.meta.dirname, '../../..')

test('no code but proto/subjects.ts contains a subject', async (t) => {
  const found: string[] = []
  for (const folder of ['proto', 'actors', 'src']) {
    for (const entry of await readdir(join(PROJECT, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !/\.(ts|mjs|js)$/.test(entry.name)) continue
      const path = join(entry.parentPath, entry.name)
      const code = (await readFile(path, 'utf8')).replace(COMMENT, '')
      if (code.includes(ROOT)) found.push(path.slice(PROJECT.length + 1))
    }
  }
  t.deepEqual(found, ['proto/subjects.ts'])
})

test('what is not one token cannot get into a subject', (t) => {
  for (const bad of ['', 'a.b', '*', '>', 'a b', 'ä', 'x'.repeat(65), 'a\r\n']) {
    t.false(isSubjectToken(bad), bad)
    t.throws(() => subjects.command('default', bad, 'run'), { instanceOf: RangeError })
    t.throws(() => subjects.list(bad), { instanceOf: RangeError })
  }
  t.true(isSubjectToken('x'.repeat(64)))
})

test('subjects are taken apart as they were put together', (t) => {
  t.deepEqual(parseSubject(subjects.control('t', 'create')), { tenant: 't', verb: 'create' })
  t.deepEqual(parseSubject(subjects.list('t')), { tenant: 't', verb: 'list' })
  t.deepEqual(parseSubject(subjects.command('t', 's', 'run')), { tenant: 't', sessionId: 's', verb: 'run' })
  t.deepEqual(parseCancel(subjects.cancel('t', 'r')), { tenant: 't', requestId: 'r' })
  t.is(parseSubject(subjects.cancel('t', 'r')), undefined)
  t.is(parseCancel(subjects.list('t')), undefined)
  t.is(parseSubject('other.v1.ctl.t.run'), undefined)
})

test('answers go to inboxes of any prefix, never to our own subjects or the API of the server', (t) => {
  t.true(isReplySubject('_INBOX.a.1'))
  t.true(isReplySubject('inbox_of_a_service.1'))
  t.false(isReplySubject(subjects.events('t', 's')))
  t.false(isReplySubject('$JS.API.STREAM.DELETE.OSB_EVENTS'))
})
