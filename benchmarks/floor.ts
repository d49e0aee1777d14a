/** The floor of floor.c, compiled when the benchmark runs, and run as processes of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot } from '../src/config/package-root.ts'

const NS_PER_US = 1_000

/** A program that does nothing, without the dynamic linker's work. */
const STATIC_TRUE = 'int main(void) { return 0; }\n'

/** What every command of the benchmark is: bare here, in a sandbox in the rows. */
export const PROGRAM = '/bin/true'

export interface FloorPrograms {
  floor: string
  staticTrue: string
}

/** Compiles into `folder` with the C compiler `cc`. */
export function compileFloor(folder: string): FloorPrograms {
  const floor = join(folder, 'floor')
  const staticTrue = join(folder, 'true')
  const source = join(folder, 'true.c')
  writeFileSync(source, STATIC_TRUE)
  execFileSync('cc', ['-O2', '-o', floor, join(packageRoot, 'benchmarks/floor.c')])
  execFileSync('cc', ['-O2', '-static', '-o', staticTrue, source])
  return { floor, staticTrue }
}

/** One small C parent. */
export class Floor {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(programs: FloorPrograms, program: string = PROGRAM) {
    this.#child = spawn(programs.floor, [program], { stdio: ['pipe', 'pipe', 'inherit'] })
    if (this.#child.stdout === null) throw new Error('the floor has no stdout')
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** Microseconds of each of `count` spawns. */
  async latencies(count: number): Promise<number[]> {
    this.#order(`latency ${count}`)
    const latencies: number[] = []
    while (latencies.length < count) latencies.push((await this.#number()) / NS_PER_US)
    return latencies
  }

  /** How many spawns one after another fit into `ms` milliseconds. */
  throughput(ms: number): Promise<number> {
    this.#order(`throughput ${ms}`)
    return this.#number()
  }

  async close(): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await exited
  }

  #order(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  async #number(): Promise<number> {
    const { value, done } = await this.#lines.next()
    if (done === true) throw new Error('the floor ended')
    return Number(value)
  }
}
