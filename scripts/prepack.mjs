// `prepack` of each package: what goes into a tarball is built from the sources as they are now, and nothing else.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = process.cwd()

// `pnpm tarballs` has built all of them at once.
if (process.env.QUIRE_BUILT === undefined) {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-b', folder], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

// The compiler leaves the output of a source that was moved or removed. A package must not carry it.
const OUTPUT = /\.(js|d\.ts)(\.map)?$/
const dist = join(folder, 'dist')
for (const name of readdirSync(dist, { recursive: true })) {
  if (OUTPUT.test(name) && !existsSync(join(folder, 'src', name.replace(OUTPUT, '.ts')))) rmSync(join(dist, name))
}
