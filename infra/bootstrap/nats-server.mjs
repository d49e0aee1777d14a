import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { install, isExecutable, isInPath } from './apt.mjs'

const UNIT = 'nats-server.service'

/** The private server needs the program, unless a server is given. */
export function ensureNatsServer(args) {
  const isGiven = (flag) => args.some((arg) => arg === flag || arg.startsWith(`${flag}=`))
  if (process.env.NATS_URL || process.env.NATS_SERVER_BIN) return
  if (isGiven('--nats-url') || isGiven('--nats-server-bin') || isGiven('--help') || isGiven('-h')) return
  if (isInPath('nats-server') || isExecutable('/usr/sbin/nats-server')) return
  withoutItsUnit(() => install(['nats-server'], 'the private NATS server'))
}

/** The package would start a server of its own, without authentication on every address; we want the program only. */
function withoutItsUnit(work) {
  if (!existsSync('/run/systemd/system')) return work()
  const systemctl = (...args) => spawnSync('systemctl', args, { stdio: 'ignore' })
  systemctl('mask', '--runtime', UNIT)
  try {
    work()
    systemctl('disable', UNIT)
  } finally {
    systemctl('unmask', '--runtime', UNIT)
  }
}
