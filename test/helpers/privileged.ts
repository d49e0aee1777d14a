import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { packageRoot } from '../../src/config/package-root.ts'

const hasAddon = existsSync(join(packageRoot, 'build/Release')) || existsSync(join(packageRoot, 'prebuilds'))

/**
 * For tests that make sandboxes: skipped, and reported so, where there is no root or no addon. Those of one file run one
 * after another, because a dozen services at a time would starve each other.
 */
export const privileged = process.getuid?.() === 0 && hasAddon ? test.serial : test.serial.skip
