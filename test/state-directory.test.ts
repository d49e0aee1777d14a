import { readFile, writeFile } from 'node:fs/promises'
import test from 'ava'
import { openStateDirectory } from '../src/state-directory.ts'
import { temporaryDirectory } from './helpers/cli-process.ts'

test('the state directory must be writable', async (t) => {
  const directory = await temporaryDirectory(t)
  const file = `${directory}/file`
  await writeFile(file, '')
  await t.throwsAsync(() => openStateDirectory(`${file}/below`), {
    name: 'StartError',
    message: `cannot write to the state directory ${file}/below (ENOTDIR); choose another by --state-dir`,
  })
})

test('the worker id is made once', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await openStateDirectory(directory)
  const id = await first.workerId()
  t.regex(id, /^[A-Za-z0-9-]+-[0-9a-f]{8}$/)
  t.is((await readFile(`${directory}/worker-id`, 'utf8')).trim(), id)
  await first.release()
  const second = await openStateDirectory(directory)
  t.is(await second.workerId(), id)
  await second.release()
})

test('one process holds it at a time, and can let it go', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await openStateDirectory(directory)
  await t.throwsAsync(() => openStateDirectory(directory), {
    name: 'StartError',
    message: `the state directory ${directory} is in use by process ${process.pid}; stop it, or choose another by --state-dir`,
  })
  await first.release()
  await (await openStateDirectory(directory)).release()
})
