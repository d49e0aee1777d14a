/** The addon itself, without src/sandbox: promises around its callbacks, and one engine for each test file. */
import { existsSync } from 'node:fs'
import anyTest, { type TestFn } from 'ava'
import {
  loadNative,
  type NativeDirectoryEntry,
  type NativeEngine,
  type NativeError,
  type NativeExecConfig,
  type NativeOutcome,
  type NativeSandboxConfig,
} from '../../src/sandbox/binding.ts'
import { sandboxObstacle } from '../helpers/sandbox-obstacle.ts'

const MIB = 1024 * 1024

const why = sandboxObstacle()
if (why !== undefined) anyTest(`the addon is not tested: ${why}`, (t) => t.pass(why))

/** ava's `test` where the addon can work; else skipped, visibly. */
export const test: TestFn =
  why === undefined
    ? anyTest
    : (Object.assign(anyTest.skip.bind(anyTest), { serial: anyTest.serial.skip }) as unknown as TestFn)

const BINDS: [string, string][] = ['/usr', '/etc/ld.so.cache'].filter(existsSync).map((path) => [path, path])

export const SANDBOX: NativeSandboxConfig = {
  hostname: 'box',
  diskBytes: 64 * MIB,
  diskInodes: 10_000,
  shmBytes: 16 * MIB,
  sessionMemoryBytes: 0,
  sessionProcesses: 0,
  hostNetwork: false,
  binds: BINDS,
  links: [
    ['usr/bin', '/bin'],
    ['usr/lib', '/lib'],
    ['usr/lib64', '/lib64'],
  ],
  files: [['/etc/motd', 'welcome\n']],
}

export const EXEC: NativeExecConfig = {
  argv: ['/bin/true'],
  env: ['PATH=/usr/bin'],
  cwd: '/',
  stdin: new Uint8Array(0),
  cpuMs: 30_000,
  wallMs: 30_000,
  memoryBytes: 512 * MIB,
  fileSizeBytes: 64 * MIB,
  openFiles: 64,
  processes: 64,
  outputBytes: 8 * MIB,
}

export const shell = (script: string): Partial<NativeExecConfig> => ({ argv: ['/bin/sh', '-c', script] })

type Callback<T> = (error: NativeError | null, value: T) => void

export function promise<T>(call: (done: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))))
}

let rigs = 0

export class Rig {
  readonly name = `test-native-${process.pid}-${++rigs}`
  readonly lost: [sandbox: number, reason: string][] = []
  readonly engine: NativeEngine

  constructor() {
    this.engine = new (loadNative().Engine)(this.name, (...loss) => void this.lost.push(loss))
  }

  create(config: Partial<NativeSandboxConfig> = {}): Promise<number> {
    return promise((done) => this.engine.createSandbox({ ...SANDBOX, ...config }, done))
  }

  exec(sandbox: number, config: Partial<NativeExecConfig>): Promise<NativeOutcome> {
    return promise((done) => void this.engine.exec(sandbox, { ...EXEC, ...config }, done))
  }

  writeFile(sandbox: number, path: string, content: Uint8Array): Promise<undefined> {
    return promise((done) => this.engine.writeFile(sandbox, path, content, done))
  }

  readFile(sandbox: number, path: string, maxBytes = 64 * MIB): Promise<Uint8Array> {
    return promise((done) => this.engine.readFile(sandbox, path, maxBytes, done))
  }

  listDirectory(sandbox: number, path: string, maxEntries = 1000): Promise<NativeDirectoryEntry[]> {
    return promise((done) => this.engine.listDirectory(sandbox, path, maxEntries, done))
  }

  checkDirectory(sandbox: number, path: string): Promise<undefined> {
    return promise((done) => this.engine.checkDirectory(sandbox, path, done))
  }

  destroy(sandbox: number): Promise<undefined> {
    return promise((done) => this.engine.destroySandbox(sandbox, done))
  }

  close(): Promise<undefined> {
    return promise((done) => this.engine.close(done))
  }
}

/** An engine that is made when a test first asks for it and closed after the file's tests. */
export function fileRig(): () => Rig {
  let rig: Rig | undefined
  if (why === undefined) anyTest.after.always(() => rig?.close())
  return () => {
    rig ??= new Rig()
    return rig
  }
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

/** What a NativeError says: its code, which agrees with its errno. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'none'
  } catch (error) {
    return (error as NativeError).code
  }
}
