/** What a session knows. Plain JSON, so that it can be kept; all times are absolute ms and come in with events. */
import type { EndReason } from '../../proto/events.ts'
import { DEFAULT_CWD, SESSION_TTL_SECS } from '../../proto/limits.ts'
import type { Env, LimitArgs } from '../../proto/run.ts'
import type { CreateArgs, Network, SessionInfo, SessionStatus } from '../../proto/session.ts'

/** Where a session is in its life, as far as commands care. */
export type Phase = 'creating' | 'ready' | 'ending' | 'gone' | 'failed' | 'lost'

/** A command whose effect is under way. */
export interface RunningCommand {
  verb: string
  requestId: string
  actor: string
  startedAt: number
  /** Number of the last event recorded before it began; durable before it is answered. */
  begunSequence: number
}

/** On whose behalf something is recorded. */
export interface Origin {
  requestId: string
  actor: string
}

export interface SessionContext {
  sessionId: string
  tenant: string
  workerId: string
  previewUrl: string | null
  /** The request that asked for the session. */
  createdBy: Origin & { commandId: string }

  env: Env
  cwd: string
  /** Defaults of the session's runs. */
  limits: LimitArgs
  metadata: Record<string, string>
  network: Network

  ttlMs: number
  createdAt: number
  lastActiveAt: number
  /** null while something runs, because a running command is activity. */
  expiresAt: number | null
  /** When the present step of ending is given up; null where there is none. */
  endingBy: number | null

  /** By command id. */
  running: Record<string, RunningCommand>
  /** Number of the last event recorded; the first is 1. */
  sequence: number

  endReason: EndReason | null
  endDetail: string | null
  endedBy: Origin | null
  /** Commands to be answered when everything is gone. */
  endWaiters: string[]
}

export interface SessionInput {
  sessionId: string
  tenant: string
  workerId: string
  previewUrl: string | null
  createdBy: SessionContext['createdBy']
  args: CreateArgs
  at: number
}

export function initialContext({ args, at, ...identity }: SessionInput): SessionContext {
  const ttlMs = (args.ttl_secs ?? SESSION_TTL_SECS.default) * 1000
  return {
    ...identity,
    env: args.env ?? {},
    cwd: DEFAULT_CWD,
    limits: args.limits ?? {},
    metadata: args.metadata ?? {},
    network: args.network ?? 'none',
    ttlMs,
    createdAt: at,
    lastActiveAt: at,
    expiresAt: null,
    endingBy: null,
    running: {},
    sequence: 0,
    endReason: null,
    endDetail: null,
    endedBy: null,
    endWaiters: [],
  }
}

function statusOf(context: SessionContext): SessionStatus {
  if (context.endReason !== null) return 'terminating'
  return isIdle(context) ? 'idle' : 'running'
}

export function isIdle(context: SessionContext): boolean {
  for (const _id in context.running) return false
  return true
}

const wholeSeconds = (ms: number) => Math.max(0, Math.floor(ms / 1000))

export function describeSession(context: SessionContext, at: number): SessionInfo {
  const { expiresAt } = context
  return {
    id: context.sessionId,
    env: context.env,
    cwd: context.cwd,
    age_secs: wholeSeconds(at - context.createdAt),
    idle_secs: isIdle(context) ? wholeSeconds(at - context.lastActiveAt) : 0,
    preview_url: context.previewUrl,
    ports: [],
    status: statusOf(context),
    expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    metadata: context.metadata,
    limits: context.limits,
    worker: context.workerId,
  }
}
