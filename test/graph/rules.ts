/** Who may import whom, and what may stand where. The README shows the same graph. */

/** What each folder may import besides itself and `node:` modules; `*` is any npm package. The longest match counts. */
export const IMPORTS: Record<string, { folders: string[]; packages: string[]; builtins?: false }> = {
  proto: { folders: [], packages: ['typebox'], builtins: false },
  actors: { folders: ['proto'], packages: ['typebox', 'xstate'], builtins: false },
  // The composition root and what stands beside it.
  src: { folders: ['proto', 'actors', 'src'], packages: ['*'] },
  'src/config': { folders: ['proto'], packages: ['pino', 'pino-pretty'] },
  'src/bus': { folders: ['proto', 'src'], packages: ['*'] },
  // Front-ends translate; all that they may call is the bus.
  'src/http': { folders: ['proto', 'src/bus', 'src/config'], packages: ['*'] },
  'src/grpc': { folders: ['proto', 'src/bus', 'src/config'], packages: ['*'] },
  'src/worker': { folders: ['proto', 'actors', 'src/bus', 'src/config'], packages: ['*'] },
  'src/sandbox': { folders: ['proto', 'actors', 'src/config'], packages: ['*'] },
  sdk: { folders: ['sdk'], packages: ['*'] },
}

/** Files directly in src/ (request ids and the like) are for all of src. Those below would pull everything in. */
export const COMPOSITION_ROOTS = ['src/service.ts']

/** npm packages that stand for one boundary each. */
export const PACKAGE_OWNERS: { packages: RegExp; folder: string }[] = [
  { packages: /^nats$/, folder: 'src/bus' },
  { packages: /^(fastify|@fastify\/.+)$/, folder: 'src/http' },
  { packages: /^(@grpc\/.+|grpc-health-check)$/, folder: 'src/grpc' },
  { packages: /^node-gyp-build$/, folder: 'src/sandbox' },
]

/** Text, outside of comments, that may stand in one place only. */
export const TEXT_OWNERS: { what: string; pattern: RegExp; only: RegExp }[] = [
  { what: 'reads process.env', pattern: /\bprocess\s*\.\s*env\b|\bprocess\s*\[/, only: /^src\/config\// },
  { what: 'has a NATS subject', pattern: /['"`]osb\.|\bosb\.v\d/, only: /^proto\/subjects\.ts$/ },
]

/** A test file is a list of independent cases, so it may be longer than one concept. */
export const MAX_FILE_LINES = { code: 300, test: 500 }
/** A longer file gives its reason in a comment that starts so. */
export const LENGTH_REASON = /Longer than \d+ lines because/i

/** A name that says nothing about what is in the file. */
export const EMPTY_NAMES = /^(utils?|helpers?|common|misc|lib|shared)\.\w+$/
