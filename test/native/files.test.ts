/** writeFile, readFile, listDirectory, checkDirectory. */
import { fileRig, refusal, shell, test, text } from './rig.ts'

const rig = fileRig()

test('what was written is read, of any content and size', async (t) => {
  const sandbox = await rig().create()
  for (const size of [0, 1, 16_384, 98_304, 98_305, 5_000_000]) {
    const content = Uint8Array.from({ length: size }, (_, at) => (at * 13 + (at >> 8)) & 0xff)
    t.is(await rig().writeFile(sandbox, '/tmp/a/b/file', content), undefined)
    t.is(Buffer.compare(await rig().readFile(sandbox, '/tmp/a/b/file', size), content), 0, `${size} bytes`)
    if (size > 0) t.is(await refusal(rig().readFile(sandbox, '/tmp/a/b/file', size - 1)), 'EFBIG')
  }
  t.is(text((await rig().exec(sandbox, shell('stat -c "%a %u %g" /tmp/a/b/file'))).stdout), '644 0 0\n')
  t.is(text(await rig().readFile(sandbox, '/etc/motd')), 'welcome\n')
})

test('a path that cannot be read or written is an error with its errno', async (t) => {
  const sandbox = await rig().create()
  const error = await t.throwsAsync(rig().readFile(sandbox, '/no/such'))
  t.like(error, { code: 'ENOENT', errno: 2, message: 'read /no/such: No such file or directory' })
  t.is(await refusal(rig().readFile(sandbox, '/tmp')), 'EISDIR')
  t.is(await refusal(rig().readFile(sandbox, '/dev/zero')), 'EINVAL')
  t.is(await refusal(rig().writeFile(sandbox, '/usr/bin/true', Buffer.from('x'))), 'EROFS')
  t.is(await refusal(rig().writeFile(sandbox, '/tmp', Buffer.from('x'))), 'EISDIR')
  t.is(await refusal(rig().readFile(1, '/tmp')), 'ESRCH')
})

test('a directory is listed with kinds and sizes', async (t) => {
  const sandbox = await rig().create()
  await rig().exec(sandbox, shell('mkdir -p /tmp/d/sub && cd /tmp/d && printf 123 > file && ln -s sub link'))
  const entries = await rig().listDirectory(sandbox, '/tmp/d')
  const named = new Map(entries.map((entry) => [entry.name, entry]))
  t.deepEqual([...named.keys()].sort(), ['file', 'link', 'sub'])
  t.deepEqual(named.get('file'), { name: 'file', isDirectory: false, size: 3 })
  t.deepEqual(named.get('link'), { name: 'link', isDirectory: false, size: 3 })
  t.true(named.get('sub')?.isDirectory)
  t.is((await rig().listDirectory(sandbox, '/tmp/d', 3)).length, 3)
  t.is(await refusal(rig().listDirectory(sandbox, '/tmp/d', 2)), 'EOVERFLOW')
  t.is(await refusal(rig().listDirectory(sandbox, '/tmp/d/file')), 'ENOTDIR')
  t.is(await refusal(rig().listDirectory(sandbox, '/tmp/none')), 'ENOENT')
})

test('a directory is told from what is none', async (t) => {
  const sandbox = await rig().create()
  t.is(await rig().checkDirectory(sandbox, '/tmp'), undefined)
  t.is(await rig().checkDirectory(sandbox, '/bin'), undefined)
  t.is(await refusal(rig().checkDirectory(sandbox, '/etc/motd')), 'ENOTDIR')
  t.is(await refusal(rig().checkDirectory(sandbox, '/none')), 'ENOENT')
})

test('a wrong argument is a TypeError that names it', async (t) => {
  const sandbox = await rig().create()
  const { engine } = rig()
  const never = () => t.fail()
  const message = 'path must be a string without NUL'
  t.throws(() => engine.readFile(sandbox, 'a\0b', 1, never), { instanceOf: TypeError, message })
  t.throws(() => engine.writeFile(sandbox, '/a', 'text' as never, never), {
    message: 'content must be a Uint8Array',
  })
  t.throws(() => engine.listDirectory(sandbox, '/', -1, never), {
    message: 'maxEntries must be a number from 0 to 2^53 - 1',
  })
})
