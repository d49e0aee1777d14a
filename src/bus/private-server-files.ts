/** What the private nats-server leaves in the state directory, and what is found there of an earlier one. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Credentials {
  user: string
  password: string
}

/** `nats.json`: how programs on this host reach the private server. Readable by its owner only. */
export interface Address {
  url: string
  /** The process that the server belongs to, with the time of its start, because pids are used again. */
  owner: ProcessId
}

export interface ProcessId {
  pid: number
  /** Clock ticks after boot. */
  startTime: string
}

export class PrivateServerFiles {
  readonly config: string
  readonly #directory: string
  readonly #address: string
  readonly #ports: string
  readonly #pid: string

  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'nats')
    this.#address = join(stateDir, 'nats.json')
    this.config = join(this.#directory, 'nats.conf')
    this.#ports = join(this.#directory, 'ports')
    this.#pid = join(this.#directory, 'nats.pid')
  }

  async prepare(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    await rm(this.#ports, { recursive: true, force: true })
    await mkdir(this.#ports, { mode: 0o700 })
  }

  /** `port` -1 lets the server pick one. */
  async writeConfig(port: number, { user, password }: Credentials): Promise<void> {
    const text = [
      '# Written at each start; changes are lost.',
      `listen: "127.0.0.1:${port}"`,
      'max_payload: 1MB',
      `pid_file: ${JSON.stringify(this.#pid)}`,
      `ports_file_dir: ${JSON.stringify(this.#ports)}`,
      'jetstream {',
      `  store_dir: ${JSON.stringify(this.#directory)}`,
      '  max_memory_store: 256MB',
      '  max_file_store: 4GB',
      '}',
      'authorization {',
      `  user: ${JSON.stringify(user)}`,
      `  password: ${JSON.stringify(password)}`,
      '}',
      '',
    ].join('\n')
    await writeFile(this.config, text, { mode: 0o600 })
  }

  /** The port that the server has picked; undefined until it has. */
  async pickedPort(): Promise<number | undefined> {
    const [name] = (await readdir(this.#ports)).filter((file) => file.endsWith('.ports'))
    if (name === undefined) return undefined
    try {
      const { nats } = JSON.parse(await readFile(join(this.#ports, name), 'utf8')) as { nats: string[] }
      return Number(new URL(nats[0] ?? '').port)
    } catch {
      // Half written.
      return undefined
    }
  }

  /** In one step, so that nobody reads half of it. */
  async writeAddress(address: Address): Promise<void> {
    const draft = `${this.#address}.new`
    await writeFile(draft, `${JSON.stringify(address)}\n`, { mode: 0o600 })
    await rename(draft, this.#address)
  }

  async readAddress(): Promise<Address | undefined> {
    try {
      return JSON.parse(await readFile(this.#address, 'utf8')) as Address
    } catch {
      return undefined
    }
  }

  /** The pid of a server that runs with our configuration, whoever started it. */
  async runningPid(): Promise<number | undefined> {
    const pid = Number(await readFile(this.#pid, 'utf8').catch(() => 'none'))
    if (!Number.isInteger(pid)) return undefined
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    return commandLine.split('\0').includes(this.config) ? pid : undefined
  }

  /** All but the stream, which stays. */
  async remove(): Promise<void> {
    for (const path of [this.#address, this.config, this.#pid, this.#ports]) {
      await rm(path, { recursive: true, force: true })
    }
  }
}

/** Undefined where there is no such process. */
export async function processId(pid: number): Promise<ProcessId | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The name of the program, in parentheses, may itself hold blanks; field 22 of all is field 20 after it.
  const startTime = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return startTime === undefined ? undefined : { pid, startTime }
}
