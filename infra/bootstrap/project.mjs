import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Absolute path of something in the project. */
export function inProject(...parts) {
  return join(root, ...parts)
}
