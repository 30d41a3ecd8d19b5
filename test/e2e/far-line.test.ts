/** The far line of `pnpm chaos`. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { whyNoCompiler } from '../chaos/src/machines/compiler.js'
import { HUB, whyNoNamespaces } from '../chaos/src/machines/namespaces.js'

const CHILD = fileURLToPath(new URL('children/far-line.mjs', import.meta.url))

it.skipIf(whyNoNamespaces() !== undefined || whyNoCompiler() !== undefined)(
  'a machine with a far line keeps its connections, and each round trip takes the delay twice (needs root and a C compiler)',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'quire-far-line-'))
    try {
      const args = ['--net', '--mount', process.execPath, CHILD, folder]
      const { stdout } = await promisify(execFile)('unshare', args, { env: { ...process.env, [HUB]: '1' } })
      const { before, during, after } = JSON.parse(stdout) as Record<string, number>
      expect(before).toBeLessThan(240)
      expect(during).toBeGreaterThanOrEqual(240)
      expect(after).toBeLessThan(240)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
)
