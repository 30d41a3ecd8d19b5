/** Damaged files of pages, which createLmdbBackend refuses before LMDB reads them. */
import { createRandomSource } from '@quire/testing'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createPageStore } from '../src/pages/index.js'
import { inspectLmdbFile } from '../src/pages/lmdb-file.js'
import { probeLmdbFile } from '../src/pages/lmdb-guard.js'
import { PAGE } from './state-helpers.js'
import { overwrite, ones, DAMAGES, expectRefusal } from './support/lmdb-damage.js'
import { folder, path, open, makeStore, useFolder } from './support/lmdb-store.js'

/** Offset in a meta page of the number of the page that names the tables. */
const ROOT_AT = 136
const isLittle = endianness() === 'LE'

useFolder()

/** Returns the numbers of the meta pages and of the pages of the trees. */
function treePages(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const pages = Array.from({ length: Math.floor(bytes.length / PAGE) }, (_, page) => page)
  return pages.filter((page) => {
    const isTree = (view.getUint16(page * PAGE + 18, isLittle) & 3) !== 0
    return page < 2 || (isTree && view.getBigUint64(page * PAGE, isLittle) === BigInt(page))
  })
}

/** Returns one to four runs of bytes to put into some of `pages` of `sound`, most often where LMDB has numbers. */
function damageFrom(seed: number, sound: Uint8Array, pages: readonly number[]): { at: number; bytes: Uint8Array }[] {
  const view = new DataView(sound.buffer, sound.byteOffset, sound.length)
  const source = createRandomSource(seed)
  const below = (end: number): number => Math.floor(source.next() * end)
  return Array.from({ length: 1 + below(4) }, () => {
    const page = pages[below(pages.length)]! * PAGE
    const count = Math.floor(view.getUint16(page + 20, isLittle) / 2)
    const nodes = Array.from({ length: count }, (_, i) => 24 + view.getUint16(page + 24 + 2 * i, isLittle))
    // Half of the time the node at the end of the page, where a number that is too large leads out of the page.
    const node = below(2) === 0 ? Math.max(...nodes) : (nodes[below(count)] ?? 0)
    const isNode = page >= 2 * PAGE && below(3) > 0
    const start = isNode ? Math.min(node + below(8), PAGE - 1) : below(below(2) === 0 ? 200 : PAGE)
    const length = Math.min(below(2) === 0 ? 1 : 1 + below(40), PAGE - start)
    const bytes = Uint8Array.from({ length }, (_, i) => {
      const flipped = sound[page + start + i]! ^ (1 << below(8))
      return [flipped, 0xff, below(256)][below(3)]!
    })
    return { at: page + start, bytes }
  })
}

describe('createLmdbBackend on a damaged file', () => {
  it.each(Object.entries(DAMAGES))(
    'createLmdbBackend refuses a file %s in one line that names the file and the remedy',
    async (_, damage) => {
      await makeStore()
      const [break_, reason] = damage
      await break_(path, (await stat(path)).size)
      let failure: unknown
      try {
        open()
      } catch (error) {
        failure = error
      }
      expect(failure).toMatchObject({ name: 'CorruptionError', where: path })
      expectRefusal((failure as Error).message, path, reason)
    }
  )

  it('createLmdbBackend detects a file that is cut off by the SIGBUS that ends the probe process', async () => {
    await makeStore()
    await truncate(path, Math.floor((await stat(path)).size / 2))
    expect(() => probeLmdbFile(path)).toThrow(/SIGBUS ended a process that read it; move this file away/)
  })

  it('the inspection of a file refuses one that lacks any number of its last pages', async () => {
    await makeStore()
    expect(inspectLmdbFile(path, Infinity)).toBeUndefined()
    for (let pages = 1; pages <= 40; pages++) {
      await truncate(path, (await stat(path)).size - PAGE)
      expect(inspectLmdbFile(path)).toMatch(/cut off/)
    }
  })

  it('the inspection of a file refuses one that is cut anywhere, also within a page', async () => {
    await makeStore()
    // Small files are inspected for traces of a first flush that a power loss interrupted.
    for (const bytes of [41_053, 2 * PAGE + 1, 2 * PAGE - 1, PAGE + 1, 161, 159, 19]) {
      await truncate(path, bytes)
      expect(inspectLmdbFile(path), `${bytes} bytes`).toBeDefined()
    }
  })

  it('the probe refuses a file that LMDB finds damaged, with its message or the signal that ended the probe', async () => {
    await makeStore()
    // Branches now name pages that no file has.
    await overwrite(path, 2 * PAGE, ones((await stat(path)).size - 2 * PAGE))
    expect(() => probeLmdbFile(path)).toThrow(/LMDB says: MDB_|SIG\w+ ended a process/)
  })

  it('the inspection finds a file sound or gives a reason, whichever bytes of LMDB are overwritten, and never throws', async () => {
    await makeStore()
    const sound = await readFile(path)
    const pages = treePages(sound)
    expect(pages.length).toBeGreaterThan(20)
    const found = new Set<string>()
    const file = openSync(path, 'r+')
    onTestFinished(() => closeSync(file))
    for (let seed = 1; seed <= 2000; seed++) {
      const damage = damageFrom(seed, sound, pages)
      for (const { at, bytes } of damage) writeSync(file, bytes, 0, bytes.length, at)
      let problem: string | undefined
      expect(() => (problem = inspectLmdbFile(path, Infinity)), `seed ${seed}`).not.toThrow()
      for (const { at, bytes } of damage) writeSync(file, sound, at, bytes.length, at)
      found.add((problem ?? 'sound').replaceAll(/\d+/g, 'N'))
    }
    expect([...found]).toEqual(expect.arrayContaining(['sound', 'page N is damaged', 'meta page N is damaged']))
  }, 30_000)

  it('the inspection refuses a page with a node that ends before the tree that it names', async () => {
    await makeStore()
    const bytes = await readFile(path)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    let shortened = 0
    for (const page of treePages(bytes)) {
      const isLeaf = (view.getUint16(page * PAGE + 18, isLittle) & 2) !== 0
      const nodes = isLeaf ? view.getUint16(page * PAGE + 20, isLittle) / 2 : 0
      for (let i = 0; i < nodes; i++) {
        const node = page * PAGE + 24 + view.getUint16(page * PAGE + 24 + 2 * i, isLittle)
        if ((view.getUint16(node + 4, isLittle) & 2) === 0) continue
        // The node moves to the end of its page.
        view.setUint16(page * PAGE + 24 + 2 * i, PAGE - 24 - 16, isLittle)
        bytes.copy(bytes, (page + 1) * PAGE - 16, node, node + 16)
        view.setUint16((page + 1) * PAGE - 16, 0, isLittle)
        shortened++
      }
    }
    expect(shortened).toBeGreaterThan(0)
    await writeFile(path, bytes)
    expect(inspectLmdbFile(path, Infinity)).toMatch(/^page \d+ is damaged$/)
  })

  it('the inspection refuses a page whose free room reaches beyond the page, because LMDB would write there', async () => {
    await makeStore()
    const sound = await readFile(path)
    const meta = new DataView(sound.buffer, sound.byteOffset)
    const newest = meta.getBigUint64(152, isLittle) > meta.getBigUint64(PAGE + 152, isLittle) ? 0 : PAGE
    const page = Number(meta.getBigUint64(newest + ROOT_AT, isLittle))
    for (const [at, value] of [
      [20, PAGE - 24 + 2],
      [22, PAGE - 24 + 2],
      [22, 0]
    ] as const) {
      const bytes = Buffer.from(sound)
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(page * PAGE + at, value, isLittle)
      await writeFile(path, bytes)
      expect(inspectLmdbFile(path, Infinity), `${value} at ${at}`).toBe(`page ${page} is damaged`)
    }
  })

  /** Things that may stand in place of a file. */
  const OTHERS: Readonly<Record<string, (at: string) => unknown>> = {
    'a folder': (at) => mkdir(at),
    'a named pipe': (at) => execFileSync('mkfifo', [at]),
    'a device': (at) => symlink('/dev/null', at),
    'a symbolic link that leads nowhere': (at) => symlink(join(folder, 'nowhere'), at)
  }

  it.each(Object.entries(OTHERS))(
    'createLmdbBackend refuses %s in place of the file or the lock file, at once and in one line',
    async (what, make) => {
      await make(path)
      expect(() => open()).toThrow(expect.objectContaining({ name: 'CorruptionError', where: path }))
      expect(() => open()).toThrow(
        `${path}: damaged: ${what} stands in place of the file; move this file away and start`
      )
      await rm(path, { recursive: true })
      await makeStore()
      const lock = `${path}-lock`
      await rm(lock)
      await make(lock)
      const line = `${lock}: damaged: ${what} stands in place of the lock file; move it away and start the peer again`
      expect(() => open()).toThrow(line)
      await rm(lock, { recursive: true })
      expect(createPageStore({ backend: open() }).durableIndex).toBe(3)
    }
  )

  it('createLmdbBackend opens a symbolic link to a file', async () => {
    await makeStore()
    await rename(path, `${path}.elsewhere`)
    await symlink(`${path}.elsewhere`, path)
    expect(createPageStore({ backend: open() }).durableIndex).toBe(3)
  })
})
