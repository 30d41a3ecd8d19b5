// `pnpm tarballs [FOLDER]`: packs every package that is to be published. Default folder: tarballs/ of the checkout.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = resolve(process.argv[2] ?? join(root, 'tarballs'))
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

mkdirSync(folder, { recursive: true })
// A tarball of an earlier version would be installed together with the new ones.
for (const name of readdirSync(folder)) if (/^quire-.*\.tgz$/.test(name)) rmSync(join(folder, name))

// `pnpm pack` replaces `workspace:` by versions; `npm pack` does not.
const pack = ['-r', '--filter', './packages/*', '--filter', '!@quire/testing', 'pack', '--pack-destination', folder]
const { status, stdout, stderr } = spawnSync('npx', ['--yes', packageManager, ...pack], {
  cwd: root,
  encoding: 'utf8',
  env: { ...process.env, QUIRE_BUILT: '1' }
})
if (status !== 0) {
  process.stderr.write(`${stdout}${stderr}`)
  process.exit(status ?? 1)
}
for (const name of readdirSync(folder).sort()) console.log(join(folder, name))
