import type { Msg } from 'nats'
import { SandboxError } from '../../proto/errors.ts'
import { REQUEST_TIMEOUT_MS } from '../../proto/message.ts'
import { isNoResponders, readHead } from './codec.ts'
import { busUnavailable } from './connection.ts'
import { abortError } from './pending-answer.ts'
import type { Sent, Waiter } from './reply-inbox.ts'
import type { WorkerWatch } from './worker-watch.ts'

/** How often it is looked whether those who have not answered still live. */
const RECHECK_MS = 50

export interface GatherOptions {
  send(waiter: Waiter): Sent
  signal: AbortSignal | undefined
  /** The error where nobody listens. */
  unanswered(): SandboxError
}

/**
 * Sends one question to every worker and collects their answers: complete when as many have answered as are alive. So
 * a worker that died holds it up until its lease is over, but never makes the answers fewer in silence; one that beats
 * and does not answer makes it a `timeout`.
 */
export function gatherAnswers(workers: WorkerWatch, options: GatherOptions): Promise<Msg[]> {
  const { signal } = options
  return new Promise((resolve, reject) => {
    const answers: Msg[] = []
    let patienceMs = REQUEST_TIMEOUT_MS
    const settle = (act: () => void) => {
      clearInterval(recheck)
      signal?.removeEventListener('abort', onAbort)
      sent.forget()
      act()
    }
    const fail = (error: SandboxError) => settle(() => reject(error))
    const onAbort = () => fail(abortError(signal as AbortSignal))
    const finishIfComplete = () => {
      const expected = Math.max(workers.live().length, 1)
      if (workers.complete && answers.length >= expected) settle(() => resolve(answers))
    }
    const sent = options.send({
      onFrame: (message) => {
        if (isNoResponders(message)) return fail(options.unanswered())
        if (readHead(message).kind === 'beat') return
        answers.push(message)
        finishIfComplete()
      },
      onConnectionLost: () => fail(busUnavailable('The connection to the message bus was lost.')),
    })
    const recheck = setInterval(() => {
      patienceMs -= RECHECK_MS
      if (patienceMs <= 0) fail(new SandboxError('timeout', 'Not every worker answered.'))
      else finishIfComplete()
    }, RECHECK_MS)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
