import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { fakeClient } from './fake-client.ts'
import { connected, exchange, listen, runText } from './listener.ts'

const GRACE_MS = 5_000

test('a client that hangs up cancels its run, and only its own', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  t.teardown(() => server.stop(0))
  const run = fake.hang('runOnce')
  const socket = await connected(server)
  socket.write(runText())
  const call = await run.started
  await sleep(50)
  t.false(call.context.signal?.aborted)
  socket.destroy()
  await run.aborted
  t.true(call.context.signal?.aborted)
})

test('a connection that is kept alive aborts nothing between or after its requests', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  t.teardown(() => server.stop(0))
  const answer = await exchange(server, runText() + runText() + runText('connection: close\r\n'))
  t.is(answer.match(/HTTP\/1.1 200 OK/g)?.length, 3)
  await sleep(20)
  t.deepEqual(
    fake.calls.map((call) => call.context.signal?.aborted),
    [false, false, false],
  )
})

test('stop: the request under way is answered, then its kept-alive connection ends', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const idle = await connected(server)
  const unused = idle.toArray()
  const busy = exchange(server, runText())
  await run.started
  const started = performance.now()
  const stopped = server.stop(GRACE_MS)
  await sleep(100)
  run.release()
  const answer = await busy
  t.regex(answer, /^HTTP\/1.1 200 OK/)
  t.regex(answer, /\r\nconnection: close\r\n/i)
  await stopped
  await unused
  t.true(performance.now() - started < GRACE_MS - 1_000)
  await t.throwsAsync(connected(server), { code: 'ECONNREFUSED' })
})

test('stop: a new request on an open connection is told that the service is stopping', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const kept = await connected(server)
  kept.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\nPOST /sessions HTTP/1.1\r\nhost: x\r\n')
  await new Promise((resolve) => kept.once('data', resolve))
  const busy = exchange(server, runText())
  await run.started
  const stopped = server.stop(GRACE_MS)
  kept.write('\r\n')
  const answer = Buffer.concat(await kept.toArray()).toString()
  t.regex(answer, /^HTTP\/1.1 503 /)
  t.regex(answer, /\r\nretry-after: 2\r\n/)
  t.regex(answer, /\r\nconnection: close\r\n/)
  t.is(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)).code, 'stopping')
  run.release()
  await Promise.all([busy, stopped])
})

test('stop: what outlasts the grace is cut off and cancelled', async (t) => {
  const fake = fakeClient()
  const server = await listen(fake)
  const run = fake.hang('runOnce')
  const busy = exchange(server, runText())
  await run.started
  const patient = server.stop(60_000)
  await server.stop(20)
  await run.aborted
  t.is(await busy, '')
  await patient
})
