/** The stage of `npm test`: prints each breach of the graph, and fails if there is one. */
import { packageRoot } from '../../src/config/package-root.ts'
import { sourceFiles } from './source-files.ts'
import { violations } from './violations.ts'

const files = sourceFiles(packageRoot)
const found = violations(files)
for (const line of found) console.log(line)
console.log(`${files.length} files, ${found.length} breaches of the folder graph`)
process.exitCode = found.length === 0 ? 0 : 1
