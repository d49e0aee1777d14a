import type { ErrorCode } from './errors.ts'
import type { Limits, RunMeta } from './run.ts'

/**
 * What each event type carries. Values of environment variables never appear, only names. A list whose text is
 * longer than MAX_EVENT_TEXT_LENGTH is cut there and flagged, because an event must fit one message.
 */
export interface EventData {
  'session.created': {
    ttl_secs: number
    env_names: string[]
    env_names_truncated?: true
    metadata: Record<string, string>
    network: string
  }
  'session.env_set': { env_names: string[]; env_names_truncated?: true }
  'session.cwd_set': { cwd: string }
  'session.file_written': { path: string; bytes: number }
  /** `lost`: the sandbox ended by itself. `stopped`: its worker stopped. */
  'session.ended': { reason: EndReason; detail?: string }
  'session.create_failed': { code: ErrorCode; detail: string }
  'run.started': {
    run_id: string
    command: string[]
    command_truncated?: true
    cwd: string
    env_names: string[]
    env_names_truncated?: true
    limits: Limits
    one_shot: boolean
  }
  'run.finished': { run_id: string; one_shot: boolean } & Omit<RunMeta, 'run_id'>
}

/**
 * UTF-16 units of one list of strings in an event. As JSON a unit takes up to 6 bytes, so that two such lists with
 * their punctuation, or one and the largest metadata, stay below the bus's message limit of 1 MiB.
 */
export const MAX_EVENT_TEXT_LENGTH = 32_768

export type EventType = keyof EventData

export type EndReason = 'deleted' | 'expired' | 'stopped' | 'lost'

/** Reverse-DNS prefix of the CloudEvents `type`. */
export const EVENT_TYPE_PREFIX = 'dev.opensandbox.'

/** A CloudEvents 1.0 event in structured JSON. `id` is `<session>.<sequence>`, also its JetStream message id. */
export interface SandboxEvent<T extends EventType = EventType> {
  specversion: '1.0'
  id: string
  source: string
  type: `${typeof EVENT_TYPE_PREFIX}${T}`
  subject: string
  time: string
  datacontenttype: 'application/json'
  /** Extension attributes; lower-case letters and digits only, as CloudEvents demands. */
  tenant: string
  sequence: number
  requestid?: string
  actor?: string
  data: EventData[T]
}

/** What a session decides to record; the worker adds the rest. */
export type EventRecord = { [T in EventType]: { type: T; data: EventData[T] } }[EventType]
