import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SourceFile } from './violations.ts'

const FOLDERS = ['proto', 'actors', 'src', 'native', 'infra', 'sdk', 'benchmarks', 'test']
const NOT_OURS = /^(node_modules|build|dist|__pycache__|\.venv|.*\.egg-info)$/
const SOURCE = /\.(ts|mjs|js|c|h|cc|py)$/

/** Every source file of the project, with paths from its root. */
export function sourceFiles(root: string): SourceFile[] {
  return FOLDERS.flatMap((folder) => walk(root, folder))
}

function walk(root: string, folder: string): SourceFile[] {
  return entries(join(root, folder)).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return NOT_OURS.test(entry.name) ? [] : walk(root, path)
    return SOURCE.test(entry.name) ? [{ path, text: readFileSync(join(root, path), 'utf8') }] : []
  })
}

function entries(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch (error) {
    // Not every folder exists yet.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
