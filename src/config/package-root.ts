import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function findPackageRoot(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from
  const parent = dirname(from)
  if (parent === from) throw new Error('package.json not found above this file')
  return findPackageRoot(parent)
}

/** The folder of package.json: where proto files and the native prebuild are, compiled or not. */
export const packageRoot = findPackageRoot(dirname(fileURLToPath(import.meta.url)))
