import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const require = createRequire(import.meta.url)
const QUIRE = join(dirname(require.resolve('@quire/cli/package.json')), 'bin/quire.js')

/** The command line of `quire` with these arguments. */
export function quire(...args: readonly string[]): string[] {
  return [process.execPath, QUIRE, ...args]
}
