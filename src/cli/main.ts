#!/usr/bin/env node
import { runCommandLine } from './command-line.ts'

/** Nothing should be left that keeps the process alive; should there be, it must not hang. */
const EXIT_GRACE_MS = 2_000

process.exitCode = await runCommandLine(process.argv.slice(2))
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref()
