/** What a thread does with mapped pages by itself (docs/threads.md). */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { DirectAccess } from '../src/core/direct-access.js'
import type { Frame, FrameSpace } from '../src/core/frames.js'
import { SharedFrames } from '../src/core/shared-frames.js'
import { BUSY, SharedTableArrays } from '../src/core/shared-page-table.js'

const PAGE = 4096
const KIB = 1024

/** A table in which the test maps pages, and a thread that uses them. */
function setUp(cacheBytes = 64 * KIB) {
  const slabs = new Map<number, Uint8Array>()
  const frames = new SharedFrames({
    cacheBytes,
    sleep: (words, entry, word) => void Atomics.wait(words, entry, word, 1),
    onSlab: (number, memory) =>
      memory === undefined ? slabs.delete(number) : slabs.set(number, new Uint8Array(memory))
  })
  frames.table.setLease(100)
  const table = new SharedTableArrays(frames.table.memory)
  const time = { now: 0 }
  const direct = new DirectAccess({ table, slab: (number) => slabs.get(number), now: () => time.now })
  const pages = new Map<string, { space: number; file: number; index: number; frame: Frame }>()
  const page = (space: number, index: number) => {
    const key = `${space}:${index}`
    if (!pages.has(key)) {
      const none: FrameSpace = { file: space, pageSize: PAGE, get: () => undefined }
      pages.set(key, { space, file: space, index, frame: frames.allocate(none, index)! })
    }
    return pages.get(key)!
  }
  const map = (space: number, index: number, access: 'shared' | 'modified', length = PAGE): Uint8Array => {
    frames.protect(page(space, index), access, length)
    return page(space, index).frame.bytes
  }
  const unmap = (space: number, index: number): void => frames.protect(page(space, index), 'invalid', 0)
  const read = (space: number, offset: number, length: number): number[] | false => {
    const target = new Uint8Array(length)
    return direct.tryRead(space, PAGE, offset, target) && [...target]
  }
  const write = (space: number, offset: number, ...bytes: number[]): boolean =>
    direct.tryWrite(space, PAGE, offset, Uint8Array.from(bytes))
  return { frames, table, direct, slabs, time, page, map, unmap, read, write }
}

describe('direct access', () => {
  it('direct access reads and writes what is mapped, within its permission', () => {
    const { map, unmap, read, write } = setUp()
    expect(read(1, 0, 1)).toBe(false)
    map(1, 0, 'shared')[5] = 7
    expect(read(1, 4, 3)).toEqual([0, 7, 0])
    expect(write(1, 4, 1)).toBe(false)
    map(1, 0, 'modified')
    expect(write(1, 4, 1, 2)).toBe(true)
    expect(read(1, 4, 3)).toEqual([1, 2, 0])
    map(1, 0, 'shared')
    expect(write(1, 4, 1)).toBe(false)
    unmap(1, 0)
    expect(read(1, 4, 3)).toBe(false)
  })

  it('direct access covers a range of pages as a whole or not at all', () => {
    const { map, read, write, page, direct } = setUp()
    map(1, 0, 'modified')
    map(1, 1, 'shared')
    expect(write(1, PAGE - 2, 1, 2, 3, 4)).toBe(false)
    expect(page(1, 0).frame.bytes[PAGE - 2]).toBe(0)
    map(1, 1, 'modified')
    expect(write(1, PAGE - 2, 1, 2, 3, 4)).toBe(true)
    expect(read(1, PAGE - 3, 6)).toEqual([0, 1, 2, 3, 4, 0])
    expect(read(1, PAGE, PAGE + 1)).toBe(false)
    expect(direct.hits).toBe(4)
  })

  it('direct access tells the same page of two address spaces apart', () => {
    const { map, read } = setUp()
    map(1, 0, 'shared')[0] = 1
    map(2, 0, 'shared')[0] = 2
    expect([read(1, 0, 1), read(2, 0, 1), read(3, 0, 1)]).toEqual([[1], [2], false])
  })

  it('direct access finds pages far apart, with as many pages in one chain as there are', () => {
    const { map, unmap, read } = setUp()
    const far = Array.from({ length: 16 }, (_, i) => i * 16 * 2 ** 32)
    for (const [i, index] of far.entries()) map(1, index, 'shared')[0] = i
    const found = (): unknown[] => far.map((index) => read(1, index * PAGE, 1))
    expect(found()).toEqual(far.map((_, i) => [i]))
    for (const i of [0, 7, 15]) unmap(1, far[i]!)
    expect(found()).toEqual(far.map((_, i) => ([0, 7, 15].includes(i) ? false : [i])))
  })

  it('direct access ends at the end of the file', () => {
    const { map, read } = setUp()
    map(1, 0, 'shared', 100)
    expect(read(1, 99, 1)).toEqual([0])
    expect(read(1, 99, 2)).toBe(false)
    map(1, 0, 'shared', 101)
    expect(read(1, 99, 2)).toEqual([0, 0])
  })

  it('direct access ends with the lease', () => {
    const { map, read, write, time } = setUp()
    map(1, 0, 'modified')
    time.now = 99.9
    expect(write(1, 0, 5)).toBe(true)
    expect(read(1, 0, 1)).toEqual([5])
    time.now = 100
    expect(read(1, 0, 1)).toBe(false)
    expect(write(1, 0, 6)).toBe(false)
  })

  it('direct access keeps out of a page in which another thread is', () => {
    const { map, read, write, table } = setUp()
    map(1, 0, 'modified')
    const entry = table.words.findIndex((word) => word !== 0)
    Atomics.or(table.words, entry, BUSY)
    expect(read(1, 0, 1)).toBe(false)
    expect(write(1, 0, 1)).toBe(false)
    Atomics.and(table.words, entry, ~BUSY)
    expect(read(1, 0, 1)).toEqual([0])
  })

  it('direct access refuses an entry that has come to map something else since it was found', () => {
    const { map, read, table } = setUp()
    map(1, 0, 'shared')
    const entry = table.words.findIndex((word) => word !== 0)
    // As another thread sees the table if the key changes between the search and the entry.
    let looks = 0
    const pages = table.pages
    const changing = new Proxy(pages, {
      get: (_, key) => (key === String(entry) && looks++ > 0 ? 9 : pages[Number(key)])
    })
    Object.defineProperty(table, 'pages', { value: changing })
    expect(read(1, 0, 1)).toBe(false)
    expect(table.words[entry]! & BUSY).toBe(0)
  })

  it('direct access refuses a page whose slab is gone', () => {
    const { map, read, slabs, table } = setUp()
    map(1, 0, 'shared')
    slabs.clear()
    expect(read(1, 0, 1)).toBe(false)
    expect(table.words.every((word) => (word & BUSY) === 0)).toBe(true)
  })

  it('direct access marks pages as used, once', () => {
    const { frames, map, read, page } = setUp()
    map(1, 0, 'shared')
    expect(frames.takeUsed(page(1, 0))).toBe(false)
    read(1, 0, 1)
    map(1, 0, 'modified')
    expect(frames.takeUsed(page(1, 0))).toBe(true)
    expect(frames.takeUsed(page(1, 0))).toBe(false)
  })

  it('direct access has an entry for each frame, again and again', () => {
    const { frames, map, unmap, page, read } = setUp()
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 16; index++) map(1, round * 16 + index, 'shared')[0] = index
      for (let index = 0; index < 16; index++) {
        expect(read(1, (round * 16 + index) * PAGE, 1)).toEqual([index])
        unmap(1, round * 16 + index)
        frames.free(page(1, round * 16 + index).frame)
      }
    }
  })
})

/** Writes whole pages of one byte each, and reads them back, while the pages change hands. */
const HAMMER = `
  const { workerData: { dist, memory, slab, turns }, parentPort } = require('node:worker_threads')
  Promise.all([import(dist + '/core/direct-access.js'), import(dist + '/core/shared-page-table.js')]).then(
    ([{ DirectAccess }, { SharedTableArrays }]) => {
      const bytes = new Uint8Array(slab)
      const direct = new DirectAccess({ table: new SharedTableArrays(memory), slab: () => bytes, now: () => 0 })
      const target = new Uint8Array(4096)
      let torn = 0, reads = 0, writes = 0
      while (Atomics.load(turns, 0) === 0) {
        if (direct.tryWrite(1, 4096, 0, target.fill(writes & 255))) writes++
        if (direct.tryRead(1, 4096, 4096, target)) { reads++; if (target.some((byte) => byte !== target[0])) torn++ }
      }
      parentPort.postMessage({ torn, reads, writes })
    })
`

describe('direct access by another thread', () => {
  it('direct access by another thread never sees half of a change, nor writes after its permission ends', async () => {
    const { frames, map, unmap, page, slabs } = setUp()
    const own = map(1, 0, 'modified')
    const other = map(1, 1, 'shared')
    const [slab] = slabs.values()
    const turns = new Int32Array(new SharedArrayBuffer(4))
    const dist = new URL('../dist', import.meta.url).href
    const workerData = { dist, memory: frames.table.memory, slab: slab!.buffer, turns }
    const worker = new Worker(HAMMER, { eval: true, workerData })
    const ended = once(worker, 'message')
    await once(worker, 'online')
    let changed = 0
    const until = performance.now() + 500
    for (let turn = 0; performance.now() < until || turn < 100; turn++) {
      // As a writeback: the copy and what is there after it are the same.
      map(1, 0, 'shared')
      const copy = own.slice()
      for (let i = 0; i < 200; i++) if (own[i * 20] !== copy[i * 20]) changed++
      if (copy.some((byte) => byte !== copy[0])) changed++
      map(1, 0, 'modified')
      // As a grant with other bytes.
      unmap(1, 1)
      other.fill(turn & 255)
      map(1, 1, 'shared')
      if (turn % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    Atomics.store(turns, 0, 1)
    const [{ torn, reads, writes }] = (await ended) as [{ torn: number; reads: number; writes: number }]
    await worker.terminate()
    expect({ torn, changed }).toEqual({ torn: 0, changed: 0 })
    expect(reads).toBeGreaterThan(0)
    expect(writes).toBeGreaterThan(0)
    expect(page(1, 0).frame.bytes).toBe(own)
  })
})
