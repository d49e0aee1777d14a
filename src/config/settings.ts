/** The one schema of flags and environment variables. */
import { EVENTS_SETTINGS } from './events-settings.ts'
import { RUN_SETTINGS } from './run-settings.ts'
import { SERVE_SETTINGS } from './serve-settings.ts'
import type { ValueOf } from './setting.ts'

export const SETTINGS = { ...SERVE_SETTINGS, ...RUN_SETTINGS, ...EVENTS_SETTINGS } as const

export type SettingName = keyof typeof SETTINGS
export type Settings = { [N in SettingName]: ValueOf<(typeof SETTINGS)[N]> }
