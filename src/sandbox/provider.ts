/** The actors' SandboxProvider: makes sandboxes with the native engine, and keeps some ready. */
import { randomUUID } from 'node:crypto'
import type { Sandbox, SandboxProvider, SandboxSpec } from '../../actors/ports.ts'
import { SandboxError } from '../../proto/errors.ts'
import type { Network } from '../../proto/session.ts'
import { loadNative, type NativeEngine, type NativeSandboxConfig } from './binding.ts'
import { HOME, HOSTNAME } from './generated-files.ts'
import { decideLayout, type Layout } from './layout.ts'
import { type DefaultEnv, NativeSandbox } from './native-sandbox.ts'
import { Pool } from './pool.ts'

export interface SandboxSettings {
  /** Names this worker's cgroups: one token, unique on the host. */
  name: string
  /** Sandboxes kept ready. */
  poolSize: number
  /** Of each sandbox: files outside of /dev/shm, their number, and /dev/shm. */
  diskBytes: number
  diskInodes: number
  shmBytes: number
  /** Of all commands of one sandbox together, files included; 0 = only what each command may have. */
  sessionMemoryBytes: number
  /** Of all commands of one sandbox together; 0 = only what each command may have. */
  sessionProcesses: number
  /** `SOURCE[:TARGET]` of the host that every sandbox sees, read-only. */
  binds: readonly string[]
}

export interface ProviderLog {
  warn(fields: object, message: string): void
}

export class NativeSandboxProvider implements SandboxProvider {
  readonly #settings: SandboxSettings
  readonly #layout: Layout
  readonly #defaultEnv: DefaultEnv
  readonly #engine: NativeEngine
  readonly #byHandle = new Map<number, NativeSandbox>()
  readonly #pool: Pool<NativeSandbox>

  /** Throws an Error with the remedy where the addon does not load, a bind is wrong, or the host cannot do it. */
  constructor(settings: SandboxSettings, log: ProviderLog) {
    this.#settings = settings
    this.#layout = decideLayout(settings.binds)
    this.#defaultEnv = { PATH: this.#layout.path, HOME }
    this.#engine = new (loadNative().Engine)(settings.name, (handle, reason) => {
      this.#byHandle.get(handle)?.markLost(reason)
    })
    this.#pool = new Pool({
      size: settings.poolSize,
      make: () => this.#make('none'),
      onError: (error) => log.warn({ err: error }, 'a sandbox could not be made or ended ahead of need'),
    })
  }

  /** Resolves when the pool is full, or could not be filled. */
  start(): Promise<void> {
    return this.#pool.start()
  }

  /** Sandboxes that are ready now. */
  get readyCount(): number {
    return this.#pool.readyCount
  }

  /** Only sandboxes without network are kept ready: the others are rare, and cheaper to make. */
  async acquire(spec: SandboxSpec): Promise<Sandbox> {
    try {
      return spec.network === 'host' ? await this.#make('host') : await this.#pool.acquire()
    } catch (error) {
      throw new SandboxError('sandbox_failed', 'A sandbox could not be made; the log has the reason.', {
        cause: error,
      })
    }
  }

  /** Ends every sandbox, handed out or not; resolves when nothing of them is left on the host. */
  async close(): Promise<void> {
    await this.#pool.stop()
    await new Promise<void>((resolve, reject) => {
      this.#engine.close((error) => (error === null ? resolve() : reject(error)))
    })
  }

  #make(network: Network): Promise<NativeSandbox> {
    return new Promise((resolve, reject) => {
      this.#engine.createSandbox(this.#config(network), (error, handle) => {
        if (error !== null) reject(error)
        else resolve(this.#adopt(handle))
      })
    })
  }

  #adopt(handle: number): NativeSandbox {
    const sandbox = new NativeSandbox(randomUUID(), this.#engine, handle, this.#defaultEnv, () =>
      this.#byHandle.delete(handle),
    )
    this.#byHandle.set(handle, sandbox)
    return sandbox
  }

  #config(network: Network): NativeSandboxConfig {
    const { diskBytes, diskInodes, shmBytes, sessionMemoryBytes, sessionProcesses } = this.#settings
    return {
      hostname: HOSTNAME,
      diskBytes,
      diskInodes,
      shmBytes,
      sessionMemoryBytes,
      sessionProcesses,
      hostNetwork: network === 'host',
      binds: this.#layout.binds,
      links: this.#layout.links,
      files: this.#layout.files[network],
    }
  }
}
