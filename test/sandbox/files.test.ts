import { randomBytes } from 'node:crypto'
import { ending, fileRig, python, sh, success, test, text, throwsCode } from './rig.ts'

const rig = fileRig()

test('what is written is read back exactly, whatever it is', async (t) => {
  await rig().with(async (sandbox) => {
    for (const size of [0, 1, 1_024, 98_304, 98_305, 3_000_000]) {
      const content = randomBytes(size)
      await sandbox.writeFile('/a/b/c/file', content)
      t.true(content.equals(await sandbox.readFile('/a/b/c/file')), `${size} bytes`)
    }
  })
})

test('mode 0644, parents 0755, owned by root inside, seen by commands; content is replaced', async (t) => {
  await rig().with(async (sandbox) => {
    await sandbox.writeFile('/srv/app/main.py', Buffer.from('print(1)\n# and more'))
    await sandbox.writeFile('/srv/app/main.py', Buffer.from('print(2)\n'))
    t.deepEqual(
      ending(
        await sh(sandbox, 'python3 /srv/app/main.py; stat -c "%a %u:%g" /srv /srv/app /srv/app/main.py'),
      ),
      success('2\n755 0:0\n755 0:0\n644 0:0\n'),
    )
  })
})

test('a listing is sorted by name and has size and kind', async (t) => {
  await rig().with(async (sandbox) => {
    await sandbox.writeFile('/d/b', Buffer.from('12345'))
    await sandbox.writeFile('/d/é', Buffer.from(''))
    await sandbox.writeFile('/d/B', Buffer.from('1'))
    await sandbox.writeFile('/d/sub/x', Buffer.from('1'))
    t.deepEqual(
      (await sandbox.listFiles('/d')).map((entry) => (entry.is_directory ? { ...entry, size: 0 } : entry)),
      [
        { name: 'B', path: '/d/B', is_directory: false, size: 1 },
        { name: 'b', path: '/d/b', is_directory: false, size: 5 },
        { name: 'sub', path: '/d/sub', is_directory: true, size: 0 },
        { name: 'é', path: '/d/é', is_directory: false, size: 0 },
      ],
    )
    t.deepEqual(await sandbox.listFiles('/tmp'), [])
    t.is((await sandbox.listFiles('/'))[0]?.path, '/bin')
  })
})

test('10,000 entries are listed whole', async (t) => {
  await rig().with(async (sandbox) => {
    await python(sandbox, 'import os\nos.mkdir("/d")\nfor i in range(10000): open(f"/d/{i:05}", "w").close()')
    const names = (await sandbox.listFiles('/d')).map(({ name }) => name)
    t.deepEqual(
      names,
      Array.from({ length: 10_000 }, (_, i) => String(i).padStart(5, '0')),
    )
  })
})

test('errors name what is wrong with the path', async (t) => {
  await rig().with(async (sandbox) => {
    await throwsCode(t, sandbox.readFile('/none'), 'path_not_found')
    await throwsCode(t, sandbox.listFiles('/none'), 'path_not_found')
    await throwsCode(t, sandbox.checkDirectory('/none'), 'path_not_found')
    await throwsCode(t, sandbox.readFile('/tmp'), 'not_a_file')
    await throwsCode(t, sandbox.writeFile('/tmp', Buffer.from('x')), 'not_a_file')
    await throwsCode(t, sandbox.writeFile('/', Buffer.from('x')), 'not_a_file')
    await throwsCode(t, sandbox.listFiles('/etc/passwd'), 'not_a_directory')
    await throwsCode(t, sandbox.checkDirectory('/etc/passwd'), 'not_a_directory')
    await throwsCode(t, sandbox.writeFile('/etc/passwd/x', Buffer.from('x')), 'not_a_directory')
    await throwsCode(t, sandbox.writeFile('/usr/x', Buffer.from('x')), 'file_refused')
    await throwsCode(t, sandbox.writeFile(`/${'n'.repeat(256)}`, Buffer.from('x')), 'file_refused')
    await t.notThrowsAsync(sandbox.checkDirectory('/usr/bin'))
  })
})

test('a full disk', async (t) => {
  const sandbox = await small().sandbox()
  const error = await throwsCode(t, sandbox.writeFile('/big', randomBytes(6_000_000)), 'disk_full')
  t.is(error?.message, '/big: no space left on the sandbox’s disk')
  await sandbox.destroy()
})

const small = fileRig({ diskBytes: 4 * 1024 * 1024 })

test('paths cannot leave the sandbox, neither by .. nor by links that a command made', async (t) => {
  await rig().with(async (sandbox) => {
    await sh(sandbox, 'ln -s / /tmp/root; ln -s ../../../../../.. /tmp/up; ln -s /proc/1/root /tmp/init')
    const inside = await sandbox.readFile('/etc/hostname')
    t.is(text(inside), 'sandbox\n')
    for (const path of ['/../../../etc/hostname', '/tmp/root/etc/hostname', '/tmp/up/etc/hostname']) {
      t.deepEqual(await sandbox.readFile(path), inside, path)
    }
    for (const path of ['/tmp/init/etc/hostname', '/proc/1/root/etc/hostname', '/proc/1/cwd/etc/hostname']) {
      await t.throwsAsync(sandbox.readFile(path), undefined, path)
      await t.throwsAsync(sandbox.writeFile(path, Buffer.from('x')), undefined, path)
    }
    await sandbox.writeFile('/tmp/up/escaped', Buffer.from('x'))
    t.deepEqual(ending(await sh(sandbox, 'cat /escaped')), success('x'))
  })
})

test('a file of the host that a link names is looked for inside', async (t) => {
  await rig().with(async (sandbox) => {
    await sh(
      sandbox,
      `ln -s ${process.execPath.replace('/usr', '/none')} /tmp/a; ln -s /etc/shadow /tmp/shadow`,
    )
    await throwsCode(t, sandbox.readFile('/tmp/shadow'), 'path_not_found')
    await throwsCode(t, sandbox.readFile(import.meta.filename), 'path_not_found')
  })
})

test('FIFOs, devices, sockets and magic files neither block nor fill memory', async (t) => {
  await rig().with(async (sandbox) => {
    await sh(sandbox, 'mkfifo /tmp/fifo; ln -s /dev/zero /tmp/zero')
    await python(sandbox, 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("/tmp/socket")')
    for (const path of ['/tmp/fifo', '/tmp/zero', '/dev/zero', '/dev/urandom', '/dev/tty', '/tmp/socket']) {
      await throwsCode(t, sandbox.readFile(path), 'not_a_file')
      await throwsCode(t, sandbox.writeFile(path, Buffer.from('x')), 'not_a_file')
    }
    await t.throwsAsync(sandbox.readFile('/proc/self/mem'))
    await t.throwsAsync(sandbox.writeFile('/proc/self/mem', Buffer.from('x')))
    await t.throwsAsync(sandbox.writeFile('/proc/sys/kernel/hostname', Buffer.from('x')))
    await t.throwsAsync(sandbox.writeFile('/proc/sysrq-trigger', Buffer.from('x')))
  })
})

test('a path that is swapped all the time while it is read never shows the outside', async (t) => {
  await rig().with(async (sandbox) => {
    await sh(sandbox, 'mkdir /tmp/a; echo inside > /tmp/a/hostname')
    const program = `
import os, time
end = time.time() + 1.5
while time.time() < end:
    os.rename("/tmp/a", "/tmp/b"); os.symlink("/../../etc", "/tmp/a")
    os.unlink("/tmp/a"); os.rename("/tmp/b", "/tmp/a")
`
    const swapping = python(sandbox, program)
    const seen = new Set<string>()
    for (let i = 0; i < 300; i++) {
      seen.add(await sandbox.readFile('/tmp/a/hostname').then(text, (error) => error.code))
    }
    t.is((await swapping).exitCode, 0)
    for (const result of seen) t.true(['inside\n', 'sandbox\n', 'path_not_found'].includes(result), result)
  })
})
