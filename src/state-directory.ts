/** The directory that outlives the service: the worker's id, the private server's streams. One service at a time. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { isSubjectToken } from '../proto/subjects.ts'
import { StartError } from './start-error.ts'

/** To hear who holds the lock; it answers at once or is stuck. */
const HOLDER_TIMEOUT_MS = 1_000
const MAX_HOSTNAME_IN_ID = 40

export interface StateDirectory {
  readonly path: string
  /** The id in it; made at the first start, and the same ever after. */
  workerId(): Promise<string>
  release(): Promise<void>
}

/** Throws StartError where it cannot be written or another process holds it. */
export async function openStateDirectory(given: string): Promise<StateDirectory> {
  const path = await prepare(given)
  const release = await lock(path)
  return { path, release, workerId: () => workerIdIn(path) }
}

/** Only the owner: the credentials of the private server are in there. */
async function prepare(given: string): Promise<string> {
  try {
    await mkdir(given, { recursive: true, mode: 0o700 })
    const probe = join(given, `.probe-${process.pid}`)
    await writeFile(probe, '')
    await rm(probe)
    return await realpath(given)
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new StartError(
      `cannot write to the state directory ${given} (${why}); choose another by --state-dir`,
    )
  }
}

/**
 * A socket with an abstract name: the kernel lets one process have it and frees it with the process, so there is no
 * stale lock to break. It holds among the processes of one network namespace. The holder tells its pid.
 */
async function lock(path: string): Promise<() => Promise<void>> {
  const { dev, ino } = await stat(path)
  const name = `\0opensandbox-state-${dev}-${ino}`
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end(String(process.pid))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return reject(error)
      void holderOf(name).then((holder) =>
        reject(
          new StartError(
            `the state directory ${path} is in use by ${holder}; stop it, or choose another by --state-dir`,
          ),
        ),
      )
    })
    server.listen(name, resolve)
  })
  server.unref()
  return () => new Promise((resolve) => server.close(() => resolve()))
}

function holderOf(name: string): Promise<string> {
  return new Promise((resolve) => {
    let pid = ''
    const done = () => resolve(/^\d+$/.test(pid) ? `process ${pid}` : 'another process')
    const socket = connect(name)
    socket.setTimeout(HOLDER_TIMEOUT_MS, () => socket.destroy())
    socket.setEncoding('utf8')
    socket.on('data', (text) => {
      pid += text
    })
    socket.on('error', () => {})
    socket.on('close', done)
  })
}

async function workerIdIn(path: string): Promise<string> {
  const file = join(path, 'worker-id')
  const existing = (await readFile(file, 'utf8').catch(() => '')).trim()
  if (isSubjectToken(existing)) return existing
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9-]/g, '-')
    .slice(0, MAX_HOSTNAME_IN_ID)
  const id = `${host}-${randomBytes(4).toString('hex')}`
  await writeFile(`${file}.new`, `${id}\n`)
  await rename(`${file}.new`, file)
  return id
}
