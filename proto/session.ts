import Type, { type Static } from 'typebox'
import { MAX_METADATA_BYTES, MAX_METADATA_ENTRIES, SESSION_TTL_SECS } from './limits.ts'
import { EnvSchema, type LimitArgs, LimitsSchema, PathSchema } from './run.ts'

export const NetworkSchema = Type.Union([Type.Literal('none'), Type.Literal('host')])
export type Network = Static<typeof NetworkSchema>

export const CreateArgsSchema = Type.Object(
  {
    env: Type.Optional(EnvSchema),
    ttl_secs: Type.Optional(Type.Integer({ minimum: SESSION_TTL_SECS.min, maximum: SESSION_TTL_SECS.max })),
    metadata: Type.Optional(
      Type.Record(Type.String(), Type.String({ maxLength: MAX_METADATA_BYTES }), {
        maxProperties: MAX_METADATA_ENTRIES,
      }),
    ),
    limits: Type.Optional(LimitsSchema),
    /** `none` (default): loopback only. `host` only where the operator allows it. */
    network: Type.Optional(NetworkSchema),
  },
  { additionalProperties: false },
)
export type CreateArgs = Static<typeof CreateArgsSchema>

export interface CreateResult {
  session_id: string
  preview_url: string | null
}

export const SetEnvArgsSchema = Type.Object({ env: EnvSchema }, { additionalProperties: false })
export type SetEnvArgs = Static<typeof SetEnvArgsSchema>

export const SetCwdArgsSchema = Type.Object({ cwd: PathSchema }, { additionalProperties: false })
export type SetCwdArgs = Static<typeof SetCwdArgsSchema>

/** Arguments of commands that take none: `get`, `delete`, `expire`, `list`. */
export const NoArgsSchema = Type.Object({}, { additionalProperties: false })

export type SessionStatus = 'running' | 'idle' | 'terminating'

export interface SessionInfo {
  id: string
  env: Record<string, string>
  cwd: string
  age_secs: number
  idle_secs: number
  preview_url: string | null
  ports: number[]
  status: SessionStatus
  /** RFC 3339; null while a command runs, because a running command is activity. */
  expires_at: string | null
  metadata: Record<string, string>
  limits: LimitArgs
  worker: string
}
