import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { decideLayout, parseBind } from '../../src/sandbox/layout.ts'

/** A directory that looks like a host's root; removed after the test. */
function hostWith(
  t: { teardown(fn: () => void): void },
  tree: { directories?: string[]; files?: Record<string, string>; links?: Record<string, string> },
): string {
  const root = mkdtempSync(join(tmpdir(), 'osb-layout-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  for (const path of tree.directories ?? []) mkdirSync(join(root, path), { recursive: true })
  for (const [path, content] of Object.entries(tree.files ?? {})) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  for (const [path, to] of Object.entries(tree.links ?? {})) symlinkSync(to, join(root, path))
  return root
}

test('a host with merged /usr: one bind, the rest as the same links', (t) => {
  const host = hostWith(t, {
    directories: ['usr/bin', 'usr/lib', 'usr/lib64'],
    links: { bin: 'usr/bin', lib: 'usr/lib', lib64: 'usr/lib64' },
  })
  const { binds, links } = decideLayout([], host)
  t.deepEqual(binds, [[join(host, 'usr'), '/usr']])
  t.deepEqual(links, [
    ['usr/bin', '/bin'],
    ['usr/lib', '/lib'],
    ['usr/lib64', '/lib64'],
  ])
})

test('a host without merged /usr, and one whose /opt is a link elsewhere: binds', (t) => {
  const host = hostWith(t, { directories: ['usr', 'bin', 'lib', 'data/opt'], links: { opt: 'data/opt' } })
  t.deepEqual(decideLayout([], host).binds, [
    [join(host, 'usr'), '/usr'],
    [join(host, 'bin'), '/bin'],
    [join(host, 'lib'), '/lib'],
    [join(host, 'data/opt'), '/opt'],
  ])
})

test('of /etc only what programs need: nothing that says who the host is or holds a key', (t) => {
  const host = hostWith(t, {
    directories: [
      'usr/share/zoneinfo/Etc',
      'etc/alternatives',
      'etc/ssl/certs',
      'etc/ssl/private',
      'etc/ssh',
    ],
    files: {
      'etc/passwd': 'root:x:0:0::/root:/bin/sh',
      'etc/shadow': 'root:hash:::::::',
      'etc/hostname': 'secret-host',
      'etc/machine-id': '0123',
      'etc/ssl/openssl.cnf': '',
      'etc/ld.so.cache': '',
      'etc/maven/settings.xml': '<password/>',
      'etc/maven/m2.conf': '',
      'etc/resolv.conf': 'nameserver 10.1.2.3\n',
    },
    links: { 'etc/localtime': '/usr/share/zoneinfo/Etc/UTC', 'etc/locale.alias': 'nowhere' },
  })
  const { binds, links, files } = decideLayout([], host)
  t.deepEqual(
    binds.map(([, target]) => target),
    [
      '/usr',
      '/etc/alternatives',
      '/etc/ld.so.cache',
      '/etc/ssl/certs',
      '/etc/ssl/openssl.cnf',
      '/etc/maven/m2.conf',
    ],
  )
  t.deepEqual(links, [['/usr/share/zoneinfo/Etc/UTC', '/etc/localtime']])
  t.is(files.none.find(([path]) => path === '/etc/resolv.conf')?.[1], '')
  t.is(files.host.find(([path]) => path === '/etc/resolv.conf')?.[1], 'nameserver 10.1.2.3\n')
})

test('the search path has the directories of toolchains that are there', (t) => {
  const usual = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  t.is(decideLayout([], hostWith(t, { directories: ['usr'] })).path, usual)
  t.is(
    decideLayout([], hostWith(t, { directories: ['usr/local/go/bin'] })).path,
    `${usual}:/usr/local/go/bin`,
  )
})

test('binds of an operator', (t) => {
  const host = hostWith(t, { directories: ['usr', 'opt/tools', 'data'], links: { alias: 'data' } })
  const data = join(host, 'data')
  t.deepEqual(parseBind(`${data}:/data`), [data, '/data'])
  t.deepEqual(parseBind(data), [data, data])
  t.deepEqual(parseBind(`${join(host, 'alias')}:/srv/../data/`), [data, '/data'])
  t.deepEqual(decideLayout([`${data}:/opt/tools`], host).binds.at(-1), [data, '/opt/tools'])
  t.deepEqual(decideLayout([`${data}:/opt`], host).binds, [
    [join(host, 'usr'), '/usr'],
    [data, '/opt'],
  ])
})

test('binds that cannot be are refused with the reason', (t) => {
  const host = hostWith(t, { directories: ['usr', 'opt', 'data'] })
  const data = join(host, 'data')
  const reasons: [string, string][] = [
    ['data:/data', 'the source must be an absolute path'],
    [`${data}:data`, 'the target must be an absolute path'],
    [`${data}:/a:/b`, 'expected SOURCE[:TARGET]'],
    [`${data}:/`, 'the sandbox has a / of its own'],
    [`${data}:/usr/`, 'the sandbox has a /usr of its own'],
    [`${data}:/proc/x`, '/proc/x belongs to the kernel'],
    [`${data}/missing:/data`, `${data}/missing does not exist`],
  ]
  for (const [bind, reason] of reasons) {
    t.throws(() => parseBind(bind), { message: `bind ${JSON.stringify(bind)}: ${reason}` })
  }
  t.throws(() => decideLayout([`${data}:/opt/missing`], host), {
    message: 'bind to /opt/missing: /opt is read-only inside and has no such path',
  })
})
