/** A nats-server with JetStream on a port of its own, gone with everything of it after the test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_TIMEOUT_MS = 10_000

export async function startNatsServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-worker-test-'))
  const args = ['-js', '-a', '127.0.0.1', '-p', '-1', '-sd', join(folder, 'js'), '--ports_file_dir', folder]
  const server = spawn('/usr/sbin/nats-server', args, { stdio: 'ignore' })
  const exited = once(server, 'exit')
  const stop = async () => {
    server.kill('SIGKILL')
    await exited
    await rm(folder, { recursive: true, force: true })
  }
  for (const start = Date.now(); Date.now() - start < START_TIMEOUT_MS; await sleep(20)) {
    const file = (await readdir(folder)).find((name) => name.endsWith('.ports'))
    const text = file === undefined ? '' : await readFile(join(folder, file), 'utf8')
    const url = text.match(/"(nats:\/\/[^"]+)"/)?.[1]
    if (url !== undefined) return { url, stop }
  }
  await stop()
  throw new Error('nats-server did not start')
}
