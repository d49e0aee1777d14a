/** The one schema of flags and environment variables. */
import { EVENTS_SETTINGS } from './events-settings.ts'
import { RUN_SETTINGS } from './run-settings.ts'
import { SERVE_SETTINGS } from './serve-settings.ts'
import type { Setting, ValueOf } from './setting.ts'

/** In the order in which help lists them. */
export const SETTINGS = { ...RUN_SETTINGS, ...EVENTS_SETTINGS, ...SERVE_SETTINGS } as const
// Checked here and not at the literals: there it would widen their choices to plain strings.
SETTINGS satisfies Record<string, Setting>

export type SettingName = keyof typeof SETTINGS
export type Settings = { [N in SettingName]: ValueOf<(typeof SETTINGS)[N]> }
