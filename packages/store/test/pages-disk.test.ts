/** A file of pages on a full disk, and one that changes while its store runs. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm, stat, statfs, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { createPageStore } from '../src/pages/index.js'
import { filled, PAGE } from './state-helpers.js'
import { expectRefusal } from './support/lmdb-damage.js'
import { folder, path, open, makeStore, useFolder } from './support/lmdb-store.js'

useFolder()

describe('createLmdbBackend on a full disk', () => {
  /** `folder` becomes a file system in memory, which only root may mount. */
  const canMount = process.getuid?.() === 0 && process.platform === 'linux'
  const mount = (...options: string[]) => execFileSync('mount', ['-t', 'tmpfs', ...options, 'tmpfs', folder])

  /** Fills the disk up to `bytes` of free space. */
  async function fill(bytes = 0): Promise<void> {
    const { bsize, bavail } = await statfs(folder)
    await writeFile(join(folder, 'other files'), new Uint8Array(bavail * bsize - bytes))
  }

  async function makeStoreAndFill(freeBytes?: number): Promise<void> {
    mount('-o', 'size=16m')
    await makeStore()
    await rm(`${path}-lock`)
    await fill(freeBytes)
  }

  afterEach(() => {
    if (canMount) execFileSync('umount', ['-l', folder])
  })

  it.skipIf(!canMount).each([0, PAGE])(
    'createLmdbBackend throws NoSpaceError without room for a lock file (%i bytes free), and leaves no lock file behind',
    async (freeBytes) => {
      await makeStoreAndFill(freeBytes)
      // The second attempt would find a lock file that the first one left behind.
      for (let attempt = 0; attempt < 2; attempt++) {
        expect(() => open()).toThrow(expect.objectContaining({ name: 'NoSpaceError', where: `${path}-lock` }))
        expect(existsSync(`${path}-lock`)).toBe(false)
      }
      await rm(join(folder, 'other files'))
      const store = createPageStore({ backend: open() })
      expect(store.durableIndex).toBe(3)
    }
  )

  it.skipIf(!canMount)(
    'createLmdbBackend throws NoSpaceError for a lock file with a hole that the disk cannot fill',
    async () => {
      await makeStoreAndFill()
      await writeFile(`${path}-lock`, '')
      await truncate(`${path}-lock`, 3 * PAGE)
      expect(() => open()).toThrow(expect.objectContaining({ name: 'NoSpaceError', where: `${path}-lock` }))
    }
  )
})

describe('a page store that runs', () => {
  it('a running page store fails its next checkpoint if the file has shrunk, and names the file and the remedy', async () => {
    await makeStore()
    const store = createPageStore({ backend: open() })
    await truncate(path, (await stat(path)).size - 20 * PAGE)
    store.write(9, 1, { version: 1, bytes: filled(1) })
    store.freeze(4)
    const failure = await store.flush().catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'CorruptionError', where: path })
    expectRefusal((failure as Error).message, path, /the file has shrunk from \d+ to \d+ bytes/)
  })

  it('a running page store fails its next checkpoint if the file is gone, and names the file and the remedy', async () => {
    await makeStore()
    const store = createPageStore({ backend: open() })
    await rm(path)
    store.write(9, 1, { version: 1, bytes: filled(1) })
    store.freeze(4)
    await expect(store.flush()).rejects.toThrow(/pages\.lmdb.*the file is gone \(ENOENT\); move/)
  })
})
