/** Files of pages that look odd and are sound. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { createPageStore } from '../src/pages/index.js'
import { inspectLmdbFile } from '../src/pages/lmdb-file.js'
import { filled, writebackLog, PAGE } from './state-helpers.js'
import { zeros } from './support/lmdb-damage.js'
import { folder, path, open, makeStore, useFolder } from './support/lmdb-store.js'

/** Offset in a meta page of the number of the last page. */
const LAST_PAGE_AT = 144
const ROOTS_AT = [88, 136]
const NO_PAGE = 0xffff_ffff_ffff_ffffn
const TRANSACTION_AT = 152
const isLittle = endianness() === 'LE'

useFolder()

describe('createLmdbBackend on a sound file', () => {
  it('createLmdbBackend opens a file after a kill at any moment of a commit', async () => {
    const log = join(folder, 'log')
    const entries = writebackLog(3000)
    await writeFile(log, entries.map(({ data }) => Buffer.from(data).toString('base64')).join('\n'))
    const script = fileURLToPath(new URL('lmdb-crash-child.mjs', import.meta.url))
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, [script, path, log], { stdio: ['ignore', 'pipe', 'inherit'] })
      const exited = once(child, 'exit')
      let lines = 0
      child.stdout.on('data', (chunk: Buffer) => {
        lines += String(chunk).split('\n').length - 1
        if (lines > 3 + 7 * round) child.kill('SIGKILL')
      })
      await exited
      expect(inspectLmdbFile(path, Infinity)).toBeUndefined()
    }
    expect(createPageStore({ backend: open() }).durableIndex).toBeGreaterThan(0)
  }, 60_000)

  it('createLmdbBackend opens a file that is longer than its meta page says, or lacks last pages that LMDB never wrote', async () => {
    await makeStore()
    const { size } = await stat(path)
    await truncate(path, size + 100 * PAGE)
    expect(inspectLmdbFile(path)).toBeUndefined()
    // LMDB's documentation: "the file may be shorter if the freeDB lists the final pages".
    await truncate(path, size)
    for (const meta of [0, 1]) {
      const file = await readFile(path)
      const view = new DataView(file.buffer, file.byteOffset)
      const at = meta * PAGE + LAST_PAGE_AT
      view.setBigUint64(at, view.getBigUint64(at, isLittle) + 50n, isLittle)
      await writeFile(path, file)
    }
    expect(inspectLmdbFile(path)).toBeUndefined()
    const store = createPageStore({ backend: open() })
    expect(store.read(1, 299)?.bytes).toEqual(filled(299))
    store.write(1, 299, { version: 4, bytes: filled(4) })
    store.freeze(4)
    await store.flush()
  })

  it('createLmdbBackend opens an empty file, and a file of zeros as a power loss before the first flush leaves it', async () => {
    for (const length of [2 * PAGE, PAGE, 0]) {
      await writeFile(path, zeros(length))
      const store = createPageStore({ backend: open() })
      expect(store.durableIndex).toBe(0)
      await store.close()
      await rm(path)
    }
  })

  it('createLmdbBackend opens a file of which a power loss before the first flush left one meta page', async () => {
    await makeStore()
    const file = await readFile(path)
    // As LMDB writes them when it makes a file: no transaction, no trees, no further page.
    const metas = [0, 1].map((number) => {
      const meta = file.subarray(number * PAGE, (number + 1) * PAGE)
      const view = new DataView(meta.buffer, meta.byteOffset)
      for (const at of ROOTS_AT) view.setBigUint64(at, NO_PAGE, isLittle)
      view.setBigUint64(LAST_PAGE_AT, 1n, isLittle)
      view.setBigUint64(TRANSACTION_AT, 0n, isLittle)
      return meta
    })
    for (const left of [[0], [1], [0, 1]]) {
      await writeFile(path, Buffer.concat(metas.map((meta, number) => (left.includes(number) ? meta : zeros(PAGE)))))
      const store = createPageStore({ backend: open() })
      expect(store.durableIndex).toBe(0)
      await store.close()
    }
  })
})
