/** Compiles the kit's programs and libraries in C (`native/`). */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const COMPILERS = ['cc', 'gcc', 'clang']
const FLAGS = ['-O2', '-Wall', '-Wextra', '-Werror']

export function whyNoCompiler(): string | undefined {
  return compiler() === undefined ? 'needs a C compiler' : undefined
}

/** Compiles sources of `native/` into the file. */
export async function compile(sources: readonly string[], flags: readonly string[], output: string): Promise<void> {
  const paths = sources.map((name) => fileURLToPath(new URL(`../../native/${name}`, import.meta.url)))
  await promisify(execFile)(compiler()!, [...FLAGS, ...flags, '-o', output, ...paths])
}

function compiler(): string | undefined {
  return COMPILERS.find((name) => spawnSync(name, ['--version']).status === 0)
}
