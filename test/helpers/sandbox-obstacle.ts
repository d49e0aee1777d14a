import { loadNative } from '../../src/sandbox/binding.ts'

/** Why sandboxes cannot be made here; undefined where they can. */
export function sandboxObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    loadNative()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
