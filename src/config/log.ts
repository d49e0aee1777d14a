import pino, { type Logger } from 'pino'
import pretty from 'pino-pretty'
import type { Settings } from './settings.ts'

const STDOUT = 1

/**
 * The service's log, on stdout. Lines are written at once, in this process: what was logged last is what one wants to
 * read after a crash, and a worker thread would hold it back.
 */
export function createLog({ logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>): Logger {
  const options: pino.LoggerOptions = {
    level: logLevel,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  }
  const isPretty = logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY === true)
  if (!isPretty) return pino(options, pino.destination({ dest: STDOUT, sync: true }))
  const stream = pretty({
    destination: STDOUT,
    sync: true,
    colorize: process.stdout.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  })
  return pino(options, stream)
}
