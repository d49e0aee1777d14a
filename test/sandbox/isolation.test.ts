/** What a command can see and reach: nothing of the host, nothing of another sandbox. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { hostname } from 'node:os'
import { ending, fileRig, python, run, sh, success, test, text } from './rig.ts'

const rig = fileRig()

test('only its own processes', async (t) => {
  await rig().with(async (sandbox) => {
    const program = `
import os
for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
    print(pid == os.getpid())
for pid in (${process.pid}, ${process.ppid}):
    try: os.kill(pid, 0); print("reached")
    except ProcessLookupError: print("no such process")
`
    t.deepEqual(ending(await python(sandbox, program)), success('True\nno such process\nno such process\n'))
  })
})

test('init cannot be looked into or signalled', async (t) => {
  await rig().with(async (sandbox) => {
    const program = `
import os, signal
def attempt(what, action):
    try: action(); print(what, "allowed")
    except OSError as error: print(what, error.errno)
attempt("root", lambda: os.stat("/proc/1/root/"))
attempt("mem", lambda: open("/proc/1/mem", "rb"))
attempt("environ", lambda: open("/proc/1/environ", "rb").read())
attempt("fd", lambda: os.listdir("/proc/1/fd"))
attempt("exe", lambda: os.readlink("/proc/1/exe"))
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGTERM)
`
    const outcome = await python(sandbox, program)
    t.is(text(outcome.stderr), '')
    t.deepEqual(text(outcome.stdout), 'root 2\nmem 2\nenviron 2\nfd 2\nexe 2\n')
    t.deepEqual(ending(await sh(sandbox, 'echo alive')), success('alive\n'))
  })
})

test('root inside is nobody outside: its ids are mapped, each sandbox to its own', async (t) => {
  const maps = await Promise.all(
    [1, 2].map(() =>
      rig().with(async (sandbox) => {
        t.deepEqual(ending(await sh(sandbox, 'id -u; id -g; id -un; whoami')), success('0\n0\nroot\nroot\n'))
        return text((await sh(sandbox, 'cat /proc/self/uid_map /proc/self/gid_map')).stdout)
          .trim()
          .split('\n')
          .map((line) => line.trim().split(/\s+/).map(Number))
      }),
    ),
  )
  for (const map of maps) {
    t.deepEqual(
      map.map(([inside, , count]) => [inside, count]),
      [
        [0, 65_536],
        [0, 65_536],
      ],
    )
    t.true((map[0]?.[1] ?? 0) >= 65_536)
  }
  t.not(maps[0]?.[0]?.[1], maps[1]?.[0]?.[1])
})

test('no privilege: capabilities bounded, none to be regained, mounts and namespaces refused', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(
      ending(await sh(sandbox, 'grep -E "^(NoNewPrivs|CapInh|CapAmb):" /proc/self/status')),
      success('CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n'),
    )
    for (const command of [
      ['mount', '-t', 'tmpfs', 'none', '/mnt'],
      ['mount', '-o', 'remount,rw', '/usr'],
      ['umount', '/usr'],
      ['unshare', '-U', 'true'],
      ['unshare', '-m', 'true'],
      ['hostname', 'changed'],
      ['mknod', '/tmp/disk', 'b', '254', '0'],
    ]) {
      const outcome = await run(sandbox, command)
      t.is(outcome.cause, 'exited', command.join(' '))
      t.not(outcome.exitCode, 0, command.join(' '))
    }
    t.is((await sh(sandbox, 'touch /usr/bin/x')).exitCode, 1)
  })
})

test('mounts: a root of its own, programs read-only, nothing of the host’s paths', async (t) => {
  await rig().with(async (sandbox) => {
    const mounts = text((await run(sandbox, ['cat', '/proc/self/mountinfo'])).stdout)
      .trim()
      .split('\n')
    const points = mounts.map((line) => line.split(' ')[4] ?? '')
    for (const point of points) t.regex(point, /^\/($|dev|proc|usr|etc|opt|bin|sbin|lib)/)
    for (const line of mounts) {
      const [, , , , point = '', options = ''] = line.split(' ')
      if (/^\/(usr|opt|etc|bin|lib)/.test(point)) t.regex(options, /^ro,.*nosuid/, line)
    }
    t.deepEqual(ending(await run(sandbox, ['ls', '/'])).stdout.includes('sys'), false)
    for (const path of [process.cwd(), '/var/lib/dpkg', '/var/log', '/root/.ssh', '/home']) {
      const listed = await sh(sandbox, `ls -A ${path} 2>/dev/null`)
      t.is(text(listed.stdout), '', path)
    }
  })
})

test('accounts, names and keys of the host are not there', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(ending(await run(sandbox, ['hostname'])), success('sandbox\n'))
    const users = (await sh(sandbox, 'cut -d: -f1 /etc/passwd')).stdout
    t.is(text(users), 'root\nsandbox\nnobody\n')
    const etc = text((await sh(sandbox, 'find /etc -maxdepth 2 2>/dev/null')).stdout).split('\n')
    for (const path of ['/etc/shadow', '/etc/gshadow', '/etc/machine-id', '/etc/ssh', '/etc/ssl/private']) {
      t.false(etc.includes(path), path)
    }
    const grep = await run(sandbox, ['grep', '-rls', '--', hostname(), '/etc', '/proc/sys/kernel', '/run'])
    if (hostname().length > 3) t.is(text(grep.stdout), '')
    t.is(text((await run(sandbox, ['env'])).stdout).split('\n').length, 3)
  })
})

test('the kernel’s sensitive files are covered', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(ending(await sh(sandbox, 'cat /proc/keys /proc/timer_list')), success(''))
    t.deepEqual(ending(await sh(sandbox, 'grep -vc "^0000000000000000" /proc/kallsyms')).stdout, '0\n')
    for (const path of ['/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches']) {
      const outcome = await sh(sandbox, `echo 1 > ${path}`)
      t.not(outcome.exitCode, 0, path)
    }
    t.not(readFileSync('/proc/sys/kernel/core_pattern', 'utf8'), '1\n')
  })
})

test('the network is loopback only, its own, and works', async (t) => {
  const server = createServer((socket) => socket.end('host'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await rig().with(async (sandbox) => {
    const program = `
import os, socket
print(sorted(name for _, name in socket.if_nameindex()))
def attempt(address):
    try: socket.create_connection(address, timeout=2); print("reached")
    except OSError as error: print(error.errno)
attempt(("127.0.0.1", ${port}))
attempt(("169.254.169.254", 80))
attempt(("1.1.1.1", 53))
listener = socket.create_server(("127.0.0.1", 0))
attempt(listener.getsockname())
try: socket.getaddrinfo("example.com", 80)
except socket.gaierror as error: print("no name")
`
    t.deepEqual(ending(await python(sandbox, program)), success("['lo']\n111\n101\n101\nreached\nno name\n"))
  })
  server.close()
})

test('two sandboxes share no file, process, port, abstract socket or shared memory', async (t) => {
  await rig().with((one) =>
    rig().with(async (two) => {
      const hold = `
import socket, time
port = socket.create_server(("127.0.0.1", 4321))
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\\0name"); abstract.listen()
open("/dev/shm/shared", "w").write("x"); open("/tmp/shared", "w").write("x")
print("held", flush=True)
time.sleep(600)
`
      const controller = new AbortController()
      const holding = python(one, hold, { signal: controller.signal })
      await one.readFile('/tmp/shared').catch(() => {})
      for (let tries = 0; tries < 100; tries++) {
        if ((await sh(one, 'test -e /tmp/shared')).exitCode === 0) break
      }
      const look = `
import os, socket
print(os.listdir("/dev/shm"), os.listdir("/tmp"))
for family, address in ((socket.AF_INET, ("127.0.0.1", 4321)), (socket.AF_UNIX, "\\0name")):
    try: socket.socket(family).connect(address); print("reached")
    except ConnectionRefusedError: print("refused")
`
      t.deepEqual(ending(await python(two, look)), success('[] []\nrefused\nrefused\n'))
      controller.abort('cancelled')
      t.is(text((await holding).stdout), 'held\n')
    }),
  )
})

test('devices: the harmless ones, and a terminal of its own', async (t) => {
  await rig().with(async (sandbox) => {
    t.deepEqual(
      ending(await sh(sandbox, 'ls /dev | tr "\\n" " "; head -c 4 /dev/zero | wc -c; echo x > /dev/null')),
      success('fd full null ptmx pts random shm stderr stdin stdout tty urandom zero 4\n'),
    )
    const terminal = await python(
      sandbox,
      'import os; m, s = os.openpty(); print(os.ttyname(s), os.listdir("/dev/pts"))',
    )
    t.deepEqual(ending(terminal), success("/dev/pts/0 ['0', 'ptmx']\n"))
  })
})

test('descriptors: 0, 1 and 2 and no others', async (t) => {
  await rig().with(async (sandbox) => {
    // The fourth is that of the listing itself.
    t.deepEqual(ending(await run(sandbox, ['ls', '/proc/self/fd'])), success('0\n1\n2\n3\n'))
  })
})
