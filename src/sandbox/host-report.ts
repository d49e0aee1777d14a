/** How this host enforces each limit, for health and doctor. */
import { type HostReport, loadNative } from './binding.ts'

export type { HostReport } from './binding.ts'

/** Throws an Error with the remedy where the addon does not load. */
export function inspectHost(): HostReport {
  return loadNative().inspectHost()
}
