import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { startCluster } from './support/cluster.js'

const run = promisify(execFile)
const README = fileURLToPath(new URL('../../README.md', import.meta.url))
// Beside this file, so that the packages are found as a program of this workspace finds them.
const HERE = fileURLToPath(new URL('.', import.meta.url))

describe('the README', () => {
  it('has an embedding example that runs as printed', async () => {
    const code = /```js\n([\s\S]*?)```/.exec(await readFile(README, 'utf8'))?.[1]
    expect(code).toContain('createDsmClient')
    const folder = await mkdtemp(join(HERE, 'readme-'))
    try {
      const file = join(folder, 'example.mjs')
      await writeFile(file, code!)
      await using cluster = await startCluster()
      const env = { ...process.env, QUIRE_PEERS: cluster.addresses.join(',') }
      expect((await run(process.execPath, [file], { env })).stdout).toBe('hello 1\n')
      expect((await run(process.execPath, [file], { env })).stdout).toBe('hello 2\n')
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
