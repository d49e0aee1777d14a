import type { Environment } from './parse.ts'

/** The process's environment. Nothing outside of this folder reads it. */
export const environment: Environment = process.env

/** Where programs are looked for. */
export const searchPath: string = environment.PATH ?? ''
