/**
 * What a sandbox's root contains on this host, decided once at start: read-only binds of the host's program
 * directories, the few things of its /etc that programs need, and generated files in place of everything that would
 * tell who the host is. Nothing here holds an account, a key or a name of the host.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { join, posix } from 'node:path'
import type { Network } from '../../proto/session.ts'
import { generatedFiles } from './generated-files.ts'

export interface Layout {
  /** `[source, target]`, parents before children. */
  binds: [string, string][]
  /** `[target, path]`. */
  links: [string, string][]
  /** `[path, content]`, by the network that the sandbox has. */
  files: Record<Network, [string, string][]>
  /** Directories where a command without a slash is looked for. */
  path: string
}

/** Always directories of programs. On a host with merged /usr all but the first are links into it. */
const PROGRAM_DIRECTORIES = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt']

/**
 * What programs read below /etc and that is the same on every host of its kind. A pattern stands for the entries of
 * its directory that match. Directories that also hold keys or passwords (ssl, pki, maven) are not taken as a whole.
 * Every entry is a mount that each sandbox pays for, so what only interactive shells or administrators read is not here.
 */
const ETC: { directory: string; entries: RegExp }[] = [
  {
    directory: '/etc',
    entries: new RegExp(
      `^(${[
        'alternatives|ld\\.so\\.(cache|conf|conf\\.d)|localtime|os-release|crypto-policies',
        'mime\\.types|services|protocols|fonts|perl|java(-.+)?|ImageMagick-\\d+|R',
      ].join('|')})$`,
    ),
  },
  { directory: '/etc/ssl', entries: /^(certs|openssl\.cnf|cert\.pem)$/ },
  { directory: '/etc/pki', entries: /^ca-trust$/ },
  { directory: '/etc/pki/tls', entries: /^(certs|openssl\.cnf|ct_log_list\.cnf|cert\.pem)$/ },
  { directory: '/etc/maven', entries: /^m2\.conf$/ },
]

/** The usual search path, and directories that installers of toolchains use without linking into it. */
const PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']
const TOOLCHAIN_PATHS = ['/usr/local/go/bin', '/usr/local/cargo/bin', '/usr/lib/go/bin']

/** Where the sandbox has file systems of its own. */
const RESERVED_TARGETS = ['/', '/dev', '/proc', '/sys', '/etc', '/usr']

type Entry = { kind: 'link'; to: string } | { kind: 'bind'; source: string } | undefined

/** How `path` of the host appears inside: as the same link where that leads to something visible, else as a bind. */
function appearance(path: string, visible: (target: string) => boolean, hostRoot: string): Entry {
  const status = lstatSync(join(hostRoot, path), { throwIfNoEntry: false })
  if (status === undefined) return undefined
  if (status.isSymbolicLink()) {
    const to = readlinkSync(join(hostRoot, path))
    if (visible(posix.resolve(posix.dirname(path), to))) return { kind: 'link', to }
  }
  if (!status.isSymbolicLink() && !status.isDirectory() && !status.isFile()) return undefined
  try {
    return { kind: 'bind', source: realpathSync(join(hostRoot, path)) }
  } catch {
    return undefined // a link to nowhere
  }
}

function isWithin(directory: string, path: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`)
}

function etcPaths(hostRoot: string): string[] {
  return ETC.flatMap(({ directory, entries }) => {
    try {
      return readdirSync(join(hostRoot, directory))
        .filter((name) => entries.test(name))
        .sort()
        .map((name) => `${directory}/${name}`)
    } catch {
      return [] // not a host of that kind
    }
  })
}

/**
 * `SOURCE[:TARGET]` of an operator: an existing directory or file of the host, seen read-only at TARGET.
 * Throws an Error that names what is wrong with it.
 */
export function parseBind(text: string): [string, string] {
  const [source, target = source, ...rest] = text.split(':')
  const refuse = (why: string) => new Error(`bind ${JSON.stringify(text)}: ${why}`)
  if (source === undefined || target === undefined || rest.length > 0)
    throw refuse('expected SOURCE[:TARGET]')
  if (!posix.isAbsolute(source)) throw refuse('the source must be an absolute path')
  if (!posix.isAbsolute(target)) throw refuse('the target must be an absolute path')
  const inside = posix.resolve(target)
  if (RESERVED_TARGETS.includes(inside)) throw refuse(`the sandbox has a ${inside} of its own`)
  if (['/dev', '/proc'].some((own) => isWithin(own, inside))) throw refuse(`${inside} belongs to the kernel`)
  try {
    return [realpathSync(source), inside]
  } catch {
    throw refuse(`${source} does not exist`)
  }
}

/** An operator's bind may lie within another bind only where the mount point is there already: that is read-only. */
function checkMountPoint([, target]: [string, string], binds: [string, string][]): void {
  for (const [outerSource, outerTarget] of binds) {
    if (target === outerTarget || !isWithin(outerTarget, target)) continue
    const existing = join(outerSource, posix.relative(outerTarget, target))
    if (statSync(existing, { throwIfNoEntry: false }) === undefined) {
      throw new Error(`bind to ${target}: ${outerTarget} is read-only inside and has no such path`)
    }
  }
}

/** `hostRoot` is where the host's tree is looked at; other than `/` in tests only. */
export function decideLayout(extraBinds: readonly string[] = [], hostRoot = '/'): Layout {
  const links: [string, string][] = []
  const binds = new Map<string, string>()
  const programs: string[] = []
  const add = (path: string, visible: (target: string) => boolean) => {
    const entry = appearance(path, visible, hostRoot)
    if (entry?.kind === 'link') links.push([entry.to, path])
    if (entry?.kind === 'bind') binds.set(path, entry.source)
    return entry
  }
  const inPrograms = (target: string) => programs.some((directory) => isWithin(directory, target))
  for (const directory of PROGRAM_DIRECTORIES) {
    if (add(directory, inPrograms) !== undefined) programs.push(directory)
  }
  for (const path of etcPaths(hostRoot)) add(path, inPrograms)

  const operators = extraBinds.map(parseBind)
  const all = [...binds].map(([target, source]): [string, string] => [source, target])
  for (const bind of operators) checkMountPoint(bind, all)
  const operatorTargets = new Set(operators.map(([, target]) => target))
  const taken = (path: string) => operatorTargets.has(path)
  const kept = all.filter(([, target]) => !taken(target))
  return {
    binds: [...kept, ...operators].sort(([, a], [, b]) => a.split('/').length - b.split('/').length),
    links: links.filter(([, path]) => !taken(path)),
    files: {
      none: generatedFiles('').filter(([path]) => !taken(path)),
      host: generatedFiles(hostResolver(hostRoot)).filter(([path]) => !taken(path)),
    },
    path: searchPath(hostRoot),
  }
}

function hostResolver(hostRoot: string): string {
  try {
    return readFileSync(join(hostRoot, '/etc/resolv.conf'), 'utf8')
  } catch {
    return ''
  }
}

function searchPath(hostRoot: string): string {
  const exists = (path: string) => statSync(join(hostRoot, path), { throwIfNoEntry: false })?.isDirectory()
  return [...PATH, ...TOOLCHAIN_PATHS.filter(exists)].join(':')
}
