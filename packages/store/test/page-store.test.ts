import { describe, expect, it } from 'vitest'
import { CorruptionError, VersionMismatchError } from '@quire/protocol'
import { createPageStore } from '../src/pages/index.js'
import { FORMAT_KEY, STORE_FORMAT, numberValue } from '../src/pages/record-rows.js'
import { filled, manualScheduler, memoryStorage, PAGE } from './state-helpers.js'

async function checkpointed(pageBytes = PAGE) {
  const storage = memoryStorage()
  const store = createPageStore({ backend: storage.open() })
  store.put('session', 4, 0, { clientId: 'c', ttlMs: 1, settled: 0 })
  store.write(1, 7, { version: 3, bytes: filled(9, pageBytes) })
  store.freeze(3)
  await store.flush()
  return storage
}

describe('page stores', () => {
  it.each([4096, 8192, 65_536])(
    'a page store returns pages of %i bytes with their version, byte for byte, after a restart',
    async (pageBytes) => {
      const bytes = new Uint8Array(pageBytes).map((_, i) => i * 7 + (i >> 8))
      const storage = memoryStorage()
      const first = createPageStore({ backend: storage.open() })
      first.write(2 ** 52, 2 ** 40, { version: 2 ** 51, bytes })
      first.freeze(5)
      await first.flush()
      const second = createPageStore({ backend: storage.open() })
      expect(second.read(2 ** 52, 2 ** 40)).toEqual({ version: 2 ** 51, bytes })
      expect(second.version(2 ** 52, 2 ** 40)).toBe(2 ** 51)
      expect([...second.pages(2 ** 52)]).toEqual([2 ** 40])
      expect(second.read(2 ** 52, 1)).toBeUndefined()
      expect(second.version(2 ** 52, 1)).toBe(0)
    }
  )

  it('a page store reads the active memtable first, then the frozen one, then the backend', async () => {
    const disk = manualScheduler()
    const store = createPageStore({ backend: memoryStorage(disk.schedule).open() })
    for (const page of [0, 1, 2]) store.write(1, page, { version: 1, bytes: filled(1) })
    store.freeze(1)
    const flushed = store.flush()
    await disk.step()
    await flushed
    for (const page of [1, 2]) store.write(1, page, { version: 2, bytes: filled(2) })
    store.freeze(2)
    void store.flush()
    store.write(1, 2, { version: 3, bytes: filled(3) })
    expect([0, 1, 2].map((page) => store.read(1, page)?.version)).toEqual([1, 2, 3])
    expect([0, 1, 2].map((page) => store.version(1, page))).toEqual([1, 2, 3])
    await disk.step()
    expect([0, 1, 2].map((page) => store.read(1, page)?.version)).toEqual([1, 2, 3])
    expect([...store.pages(1)].sort((a, b) => a - b)).toEqual([0, 1, 2])
    expect(store.durableIndex).toBe(2)
  })

  it('a page store hides the versions of a removed page in the frozen memtable and in the backend', async () => {
    const disk = manualScheduler()
    const storage = memoryStorage(disk.schedule)
    const store = createPageStore({ backend: storage.open() })
    const checkpoint = async (index: number) => {
      store.freeze(index)
      const flushed = store.flush()
      await disk.step()
      await flushed
    }
    const versions = (from = store) => [0, 1, 2, 3, 4].map((page) => from.version(1, page))
    const pages = (from = store) => [...from.pages(1)].sort((a, b) => a - b)
    for (const page of [0, 1, 2, 3]) store.write(1, page, { version: 1, bytes: filled(1) })
    store.write(2, 1, { version: 1, bytes: filled(1) })
    await checkpoint(1)
    // Versions in the backend.
    store.remove(1, 1, 2 ** 40)
    expect([versions(), pages()]).toEqual([[1, 0, 0, 0, 0], [0]])
    expect(store.read(1, 2)).toBeUndefined()
    store.write(1, 2, { version: 2, bytes: filled(2) })
    store.write(1, 4, { version: 2, bytes: filled(2) })
    // Versions in the frozen memtable, during its flush and afterwards.
    store.freeze(2)
    const flushed = store.flush()
    store.remove(1, 2, 3)
    expect([versions(), pages()]).toEqual([
      [1, 0, 0, 0, 2],
      [0, 4]
    ])
    await disk.step()
    await flushed
    expect([versions(), pages()]).toEqual([
      [1, 0, 0, 0, 2],
      [0, 4]
    ])
    const older = createPageStore({ backend: storage.open() })
    expect([versions(older), pages(older)]).toEqual([
      [1, 0, 2, 0, 2],
      [0, 2, 4]
    ])
    await checkpoint(3)
    expect([versions(), pages()]).toEqual([
      [1, 0, 0, 0, 2],
      [0, 4]
    ])
    const restored = createPageStore({ backend: storage.open() })
    expect([versions(restored), pages(restored)]).toEqual([
      [1, 0, 0, 0, 2],
      [0, 4]
    ])
    expect(restored.version(2, 1)).toBe(1)
  })

  it('a page store removes every row of a removed file of 1,000 pages', async () => {
    const storage = memoryStorage()
    const store = createPageStore({ backend: storage.open() })
    for (let page = 0; page < 1000; page++) store.write(1, page * 3, { version: 1, bytes: filled(1) })
    store.freeze(1)
    await store.flush()
    store.remove(1, 0, 2 ** 40)
    store.freeze(2)
    await store.flush()
    // The format and the applied index are left.
    expect(storage.size).toBe(2)
  })

  it('a page store counts memory for each removed range, and frees the memory of its pages', () => {
    const store = createPageStore({ backend: memoryStorage().open() })
    for (let page = 0; page < 100; page++) store.write(1, page, { version: 1, bytes: filled(1) })
    store.remove(1, 0, 2 ** 40)
    expect(store.memtableBytes).toBeLessThan(1000)
    for (let page = 0; page < 1000; page++) store.remove(2, page, page + 1)
    expect(store.memtableBytes).toBeLessThan(2000)
    for (let page = 0; page < 1000; page++) store.remove(3, page * 2, page * 2 + 1)
    expect(store.memtableBytes).toBeGreaterThan(50_000)
  })

  it('a page store flushes a record as it was when the memtable was frozen, even if it changes during the flush', async () => {
    const disk = manualScheduler()
    const storage = memoryStorage(disk.schedule)
    const store = createPageStore({ backend: storage.open() })
    store.put('owner', 1, 2, { count: 1, session: 5, epoch: 1, seq: 0 })
    store.freeze(1)
    const flushed = store.flush()
    store.put('owner', 1, 2, undefined)
    await disk.step()
    await flushed
    expect([...createPageStore({ backend: storage.open() }).restored.records]).toEqual([
      { kind: 'owner', a: 1, b: 2, value: { count: 1, session: 5, epoch: 1, seq: 0 } }
    ])
  })

  it('a page store counts memory for each page and record once, however often they change', () => {
    const store = createPageStore({ backend: memoryStorage().open(), maxMemtableBytes: 4 * PAGE })
    for (let i = 0; i < 100; i++) {
      store.write(1, 1, { version: i, bytes: filled(i) })
      store.put('owner', 1, 1, { count: 1, session: 1, epoch: 1, seq: i })
    }
    expect(store.memtableBytes).toBeLessThan(2 * PAGE)
    expect(store.isFull).toBe(false)
    store.write(1, 2, { version: 1, bytes: filled(1) })
    expect(store.isFull).toBe(true)
  })

  it.each([
    ['an earlier', STORE_FORMAT - 1],
    ['a later', STORE_FORMAT + 1]
  ])('a page store of %s format is refused, and the error names both formats', async (_, format) => {
    const storage = await checkpointed()
    await storage.open().commit([{ table: 'records', key: FORMAT_KEY, value: numberValue(FORMAT_KEY, format) }])
    expect(() => createPageStore({ backend: storage.open() })).toThrow(
      new VersionMismatchError('store memory', format, STORE_FORMAT)
    )
  })

  it('a page store detects each single damaged bit in the head of a page, and damaged bits in its body', async () => {
    const storage = await checkpointed()
    const flips = [
      ...Array.from({ length: 45 * 8 }, (_, bit) => ['heads', bit] as const),
      ...[0, 1000, 32_543].map((bit) => ['bodies', bit] as const)
    ]
    for (const [table, bit] of flips) {
      expect(storage.damage(table, 0, bit)).toBe(true)
      const store = createPageStore({ backend: storage.open() })
      expect(() => store.read(1, 7), `${table} bit ${bit}`).toThrow(CorruptionError)
      if (table === 'heads') expect(() => store.version(1, 7)).toThrow(CorruptionError)
      storage.damage(table, 0, bit)
    }
    expect(createPageStore({ backend: storage.open() }).read(1, 7)?.bytes).toEqual(filled(9))
  })

  it('a page store detects a damaged record when a state machine restores it', async () => {
    const storage = await checkpointed()
    // Rows: format, applied index, session.
    for (const row of [0, 1, 2]) {
      storage.damage('records', row, 40)
      expect(() => [...createPageStore({ backend: storage.open() }).restored.records], `row ${row}`).toThrow(
        CorruptionError
      )
      storage.damage('records', row, 40)
    }
  })

  it('a page store with rows but without a format is refused', async () => {
    const storage = await checkpointed()
    await storage.open().commit([{ table: 'records', key: FORMAT_KEY, value: undefined }])
    expect(() => createPageStore({ backend: storage.open() })).toThrow(CorruptionError)
  })
})
