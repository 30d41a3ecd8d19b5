import { ClosedError, CorruptionError, NoSpaceError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createPageStore, type Backend, type PageStore } from '../src/pages/index.js'
import { INSTALLED_KEY, snapshotValue } from '../src/pages/record-rows.js'
import { filled, manualScheduler, memoryStorage } from './state-helpers.js'
import { countViews } from './support/counted-views.js'
import { snapshotAt } from './support/snapshot-peer.js'
import { change, INDEX, rowsOf, storageWith } from './support/snapshot-rows.js'

/** A page store that has installed the snapshot at `INDEX`. */
async function installed() {
  const storage = await storageWith((store) => store.write(1, 0, { version: 1, bytes: filled(1) }))
  const value = snapshotValue(INSTALLED_KEY, snapshotAt(INDEX))
  await change(storage, { table: 'records', key: INSTALLED_KEY, value })
  return storage
}

function checkpoint(store: PageStore, index: number): Promise<void> {
  store.freeze(index)
  return store.flush()
}

describe('the record of an installation', () => {
  it('the record of an installation stays until a checkpoint of a later entry removes it with the same commit', async () => {
    const storage = await installed()
    const store = createPageStore({ backend: storage.open() })
    await checkpoint(store, INDEX)
    expect(store.installed).toEqual(snapshotAt(INDEX))
    expect(createPageStore({ backend: storage.open() }).installed).toEqual(snapshotAt(INDEX))
    await checkpoint(store, INDEX + 1)
    expect(store.installed).toBeUndefined()
    expect(createPageStore({ backend: storage.open() })).toMatchObject({
      installed: undefined,
      durableIndex: INDEX + 1
    })
  })

  it('the record of an installation stays if the checkpoint that would remove it fails', async () => {
    const storage = await installed()
    const store = createPageStore({ backend: storage.open() })
    storage.failWith(new NoSpaceError('disk'))
    await expect(checkpoint(store, INDEX + 1)).rejects.toThrow(NoSpaceError)
    expect(store.installed).toEqual(snapshotAt(INDEX))
    storage.failWith(undefined)
    await store.flush()
    expect(store.installed).toBeUndefined()
  })

  it('the record of an installation comes with the rows that replace those of a store', async () => {
    const store = createPageStore({ backend: memoryStorage().open() })
    expect(store.installed).toBeUndefined()
    const storage = await installed()
    await store.replace(() => Promise.resolve(storage.open()))
    expect(store.installed).toEqual(snapshotAt(INDEX))
  })
})

describe('page stores whose rows are replaced', () => {
  it('a page store whose rows are replaced reads only the new ones, and forgets what it has not written', async () => {
    const disk = manualScheduler()
    const former = memoryStorage(disk.schedule)
    const store = createPageStore({ backend: former.open() })
    store.write(1, 0, { version: 8, bytes: filled(8) })
    store.freeze(20)
    store.write(1, 1, { version: 9, bytes: filled(9) })
    store.put('owner', 1, 1, { count: 1, session: 1, epoch: 1, seq: 1 })
    const next = await storageWith((next) => {
      next.write(1, 2, { version: 2, bytes: filled(2) })
      next.put('owner', 2, 2, { count: 1, session: 2, epoch: 2, seq: 2 })
    })
    await store.replace(() => Promise.resolve(next.open()))
    expect(store).toMatchObject({ durableIndex: INDEX, hasFrozen: false, memtableBytes: 0 })
    expect([0, 1, 2].map((page) => store.version(1, page))).toEqual([0, 0, 2])
    expect(store.read(1, 2)).toEqual({ version: 2, bytes: filled(2) })
    expect([...store.pages(1)]).toEqual([2])
    expect(store.restored.appliedIndex).toBe(INDEX)
    expect([...store.restored.records]).toEqual([
      { kind: 'owner', a: 2, b: 2, value: { count: 1, session: 2, epoch: 2, seq: 2 } }
    ])
    expect(store.usage()).toEqual(next.open().usage())
    await checkpoint(store, INDEX + 1)
    expect(createPageStore({ backend: next.open() })).toMatchObject({ durableIndex: INDEX + 1 })
    expect([disk.length, former.size]).toEqual([0, 0])
  })

  it('a page store closes its former rows before the others take their place', async () => {
    const storage = await installed()
    const backend = storage.open()
    const store = createPageStore({ backend })
    const adopt = (): Promise<Backend> => {
      expect(() => rowsOf(backend)).toThrow(ClosedError)
      return Promise.resolve(storage.open())
    }
    await store.replace(adopt)
    expect(store.version(1, 0)).toBe(1)
  })

  it('a page store whose rows cannot be replaced is closed', async () => {
    const store = createPageStore({ backend: (await installed()).open() })
    await expect(store.replace(() => Promise.reject(new NoSpaceError('disk')))).rejects.toThrow(NoSpaceError)
    expect(() => store.version(1, 0)).toThrow(ClosedError)
  })
})

describe('page stores and their snapshots', () => {
  it('a page store opens a snapshot at its newest checkpoint, which shows nothing of the memtables', async () => {
    const storage = await installed()
    const store = createPageStore({ backend: storage.open() })
    store.write(1, 1, { version: 9, bytes: filled(9) })
    store.freeze(INDEX + 5)
    store.write(1, 2, { version: 9, bytes: filled(9) })
    const reader = store.openSnapshot()
    expect(reader.index).toBe(INDEX)
    const before = reader.read(1_000_000).data
    reader.close()
    await store.flush()
    const later = store.openSnapshot()
    expect(later.index).toBe(INDEX + 5)
    expect(later.read(1_000_000).data.length).toBeGreaterThan(before.length + 4096)
    later.close()
  })

  it('a page store without a checkpoint has no snapshot, and leaves no view open', () => {
    let open = 0
    const backend = countViews(memoryStorage().open(), (change) => (open += change))
    expect(() => createPageStore({ backend }).openSnapshot()).toThrow(CorruptionError)
    expect(open).toBe(0)
  })
})
