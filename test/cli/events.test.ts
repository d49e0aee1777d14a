import { CliProcess, post, runCli, startCliService } from '../helpers/cli-process.ts'
import { privileged } from '../helpers/privileged.ts'

privileged('events of a session as lines and as JSON', async (t) => {
  const service = await startCliService(t)
  const { body } = await post(`${service.url}/sessions`, { env: { SECRET: 'hidden' } })
  const id = String(body.session_id)
  await post(`${service.url}/sessions/${id}/run`, { command: ['/bin/true'] })
  await fetch(`${service.url}/sessions/${id}`, { method: 'DELETE' })
  await post(`${service.url}/sessions`, {})

  const args = ['events', '--state-dir', service.stateDir, '--session', id]
  const { code, stdout, stderr } = await runCli([...args, '--json'])
  t.is(stderr, '')
  t.is(code, 0)
  t.false(stdout.toString().includes('hidden'))
  const events = stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.deepEqual(
    events.map(({ type }) => type),
    [
      'dev.opensandbox.session.created',
      'dev.opensandbox.run.started',
      'dev.opensandbox.run.finished',
      'dev.opensandbox.session.ended',
    ],
  )
  t.true(events.every(({ id: eventId }, index) => eventId === `${id}.${index + 1}`))

  const lines = (await runCli(args)).stdout.toString().trim().split('\n')
  t.is(lines.length, 4)
  t.regex(lines[0] ?? '', new RegExp(`^\\S+Z  ${id}  session\\.created  .*env_names=\\["SECRET"\\]`))
  t.regex(lines[3] ?? '', /session\.ended {2}reason=deleted/)

  t.is((await runCli([...args, '--since', '2999-01-01T00:00:00Z'])).stdout.toString(), '')
  t.is((await runCli([...args, '--since', '1h'])).stdout.toString().trim().split('\n').length, 4)
})

privileged('--follow goes on until it is interrupted', async (t) => {
  const service = await startCliService(t)
  const following = new CliProcess(['events', '--follow', '--state-dir', service.stateDir])
  const { body } = await post(`${service.url}/sessions`, {})
  await following.until(new RegExp(`${body.session_id}  session\\.created`))
  await fetch(`${service.url}/sessions/${body.session_id}`, { method: 'DELETE' })
  await following.until(new RegExp(`${body.session_id}  session\\.ended`))
  following.child.kill('SIGINT')
  const { code, stderr } = await following.finished
  t.is(stderr, '')
  t.is(code, 0)
})
