import test from 'ava'
import { runCli } from '../helpers/cli-process.ts'
import { privileged } from '../helpers/privileged.ts'

privileged('says for each limit how it is enforced', async (t) => {
  const { code, stdout } = await runCli(['doctor'])
  const text = stdout.toString()
  t.is(code, 0, text)
  for (const limit of ['cpu', 'wall', 'memory', 'pids', 'fsize', 'nofile', 'output', 'disk']) {
    t.regex(text, new RegExp(`^(ok     |WEAK   )  limit: ${limit} +\\S`, 'm'))
  }
  t.regex(text, /^ok {7}NATS +nats-server \d+\.\d+\.\d+ at \//m)
})

test('what is missing is marked, and the exit code is 1', async (t) => {
  const { code, stdout } = await runCli(['doctor', '--nats-server-bin', '/nonexistent'])
  t.is(code, 1)
  t.regex(stdout.toString(), /^MISSING {2}NATS +nats-server is not at \/nonexistent: install it/m)
  t.regex(stdout.toString(), /^This host cannot run OpenSandbox/m)
})
