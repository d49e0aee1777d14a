import { basename, dirname, posix } from 'node:path'
import {
  COMPOSITION_ROOTS,
  EMPTY_NAMES,
  IMPORTS,
  LENGTH_REASON,
  MAX_FILE_LINES,
  PACKAGE_OWNERS,
  TEXT_OWNERS,
} from './rules.ts'

export interface SourceFile {
  /** From the project's root. */
  path: string
  text: string
}

/** Strings are matched only so that a comment sign within one is none. */
const STRING_OR_COMMENT =
  /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g
const IMPORT =
  /\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]|\b(?:require|createRequire\([^)]*\))\s*\(\s*['"]([^'"]+)['"]/g

/** One line for each breach of the rules; empty where there is none. */
export function violations(files: readonly SourceFile[]): string[] {
  return files.flatMap(violationsOf).sort()
}

function violationsOf(file: SourceFile): string[] {
  const { path, text } = file
  const found: string[] = []
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  const maxLines = /(^|\/)test\//.test(path) ? MAX_FILE_LINES.test : MAX_FILE_LINES.code
  if (lines > maxLines && !LENGTH_REASON.test(text)) {
    found.push(`${path}: ${lines} lines, more than ${maxLines}, and does not say why`)
  }
  if (EMPTY_NAMES.test(basename(path))) found.push(`${path}: the name does not say what is in it`)
  const folder = ruleOf(path)
  if (!path.endsWith('.ts') || folder === undefined) return found
  const code = text.replace(STRING_OR_COMMENT, (_match, string?: string) => string ?? ' ')
  for (const { what, pattern, only } of TEXT_OWNERS) {
    if (folder !== 'sdk' && pattern.test(code) && !only.test(path)) found.push(`${path}: ${what}`)
  }
  for (const match of code.matchAll(IMPORT)) {
    const complaint = complaintOf(path, folder, match[1] ?? match[2] ?? '')
    if (complaint !== undefined) found.push(`${path}: ${complaint}`)
  }
  return found
}

/** The folder whose rule counts for the file. */
function ruleOf(path: string): string | undefined {
  return Object.keys(IMPORTS)
    .filter((folder) => path.startsWith(`${folder}/`))
    .sort((a, b) => b.length - a.length)[0]
}

function complaintOf(path: string, folder: string, specifier: string): string | undefined {
  const rule = IMPORTS[folder]
  if (rule === undefined) return undefined
  if (specifier.startsWith('.')) {
    const target = posix.join(dirname(path), specifier)
    const refused = `imports ${target}, which ${folder} may not`
    if (COMPOSITION_ROOTS.includes(target)) return path.startsWith('src/cli/') ? undefined : refused
    const isBesideSrc = folder.startsWith('src') && dirname(target) === 'src'
    const allowed = [folder, ...rule.folders].some((each) => target.startsWith(`${each}/`))
    return allowed || isBesideSrc ? undefined : refused
  }
  if (specifier.startsWith('node:')) {
    return rule.builtins === false ? `imports ${specifier}, and ${folder} does no I/O` : undefined
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  const owner = PACKAGE_OWNERS.find(({ packages }) => packages.test(name))
  if (owner !== undefined && !path.startsWith(`${owner.folder}/`)) {
    return `imports ${name}, which only ${owner.folder} may`
  }
  if (rule.packages.includes('*') || rule.packages.includes(name)) return undefined
  return `imports ${name}, which ${folder} may not`
}
