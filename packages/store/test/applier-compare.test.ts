/** Comparisons of states: the page store becomes the state after a compare entry, and after no other. */
import { NoSpaceError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { createApplier, createPageStore, type ApplierInit, type CommittedEntry } from '../src/pages/index.js'
import { readAppliedIndex } from '../src/pages/record-rows.js'
import { encodeCommand } from '../src/state/index.js'
import { manualClock, manualScheduler, memoryStorage, PAGE, settle, writebackLog } from './state-helpers.js'

const DIVERGENCE = { index: 3, hash: 'a', agreed: 'b' }

/** An applier that notes each comparison, with the index of the rows that the backend has at that moment. */
function setUp(init: Partial<ApplierInit> & { maxMemtableBytes?: number } = {}) {
  const clock = manualClock()
  const disk = manualScheduler()
  const storage = memoryStorage(disk.schedule)
  const backend = storage.open()
  const compared: string[] = []
  const applier = createApplier({
    store: createPageStore({ backend, maxMemtableBytes: init.maxMemtableBytes }),
    clock,
    retryMs: 50,
    onCompare: (index, isStored) =>
      compared.push(isStored ? `${index}: ${readAppliedIndex(backend)}` : `${index}: skipped`),
    ...init
  })
  return { clock, disk, storage, applier, compared }
}

/** The log of `writebackLog`, with a compare entry in place of the entries at these indexes. */
function logWith(pages: number, ...compares: readonly number[]): CommittedEntry[] {
  return writebackLog(pages).map((entry) =>
    compares.includes(entry.index) ? { ...entry, data: encodeCommand({ type: 'compare', at: 1 }) } : entry
  )
}

describe('appliers and comparisons', () => {
  it('a compare entry changes nothing, and starts a checkpoint of the state after it at once', async () => {
    const { applier, disk, compared } = setUp()
    expect(applier.apply(logWith(2, 5).slice(0, 5))).toBeUndefined()
    expect(compared).toEqual([])
    await disk.step()
    expect(compared).toEqual(['5: 5'])
    expect(applier.durableIndex).toBe(5)
  })

  it('the checkpoint of a comparison has no change of an entry that follows in the same batch', async () => {
    const { applier, disk, compared } = setUp()
    expect(applier.apply(logWith(4, 5))).toBeUndefined()
    expect(applier.appliedIndex).toBe(10)
    await disk.step()
    expect(compared).toEqual(['5: 5'])
  })

  it('an applier holds entries back until an earlier checkpoint is complete, so that it can freeze after a compare entry', async () => {
    const { applier, disk, compared } = setUp({ checkpointEntries: 4 })
    const entries = logWith(4, 6)
    void applier.apply(entries.slice(0, 4))
    const applied = applier.apply(entries.slice(4))
    expect(applied).toBeInstanceOf(Promise)
    await settle()
    expect(applier.appliedIndex).toBe(6)
    await disk.step()
    expect(applier.durableIndex).toBe(4)
    await applied
    expect(applier.appliedIndex).toBe(10)
    await disk.step()
    expect(compared).toEqual(['6: 6'])
  })

  it('a compare entry at the end of a batch holds the next batch back as well', async () => {
    const { applier, disk, compared } = setUp({ checkpointEntries: 4 })
    const entries = logWith(4, 6)
    void applier.apply(entries.slice(0, 4))
    const first = applier.apply(entries.slice(4, 6))
    const second = applier.apply(entries.slice(6))
    await settle()
    expect(applier.appliedIndex).toBe(6)
    await disk.step()
    await Promise.all([first, second])
    await disk.step()
    expect(compared).toEqual(['6: 6'])
  })

  it('two compare entries in a row are two comparisons', async () => {
    const { applier, disk, compared } = setUp()
    const applied = applier.apply(logWith(4, 5, 6))
    await disk.step()
    await applied
    await disk.step()
    expect(compared).toEqual(['5: 5', '6: 6'])
  })

  it('no other commit has begun when an applier reports a comparison, even if the next memtable is full by then', async () => {
    const commits: number[] = []
    const { applier, disk } = setUp({ maxMemtableBytes: 4 * PAGE, onCompare: () => commits.push(disk.length) })
    const applied = applier.apply(logWith(20, 5))
    await disk.step()
    expect(commits).toEqual([0])
    while (applier.appliedIndex < 42) await disk.step()
    await applied
  })

  it('an applier skips a comparison while checkpoints find no space, and goes on applying', async () => {
    const { applier, clock, disk, storage, compared } = setUp({ checkpointEntries: 4 })
    storage.failWith(new NoSpaceError('disk'))
    const entries = logWith(4, 6)
    void applier.apply(entries.slice(0, 4))
    await disk.step()
    expect(applier.apply(entries.slice(4))).toBeUndefined()
    expect(applier.appliedIndex).toBe(10)
    expect(compared).toEqual(['6: skipped'])
    storage.failWith(undefined)
    await clock.advance(50)
    await disk.step()
    await disk.step()
    expect(compared).toEqual(['6: skipped'])
  })

  it('an applier that waits for an earlier checkpoint skips the comparison when that finds no space', async () => {
    const { applier, disk, storage, compared } = setUp({ checkpointEntries: 4 })
    storage.failWith(new NoSpaceError('disk'))
    const entries = logWith(4, 6)
    void applier.apply(entries.slice(0, 4))
    const applied = applier.apply(entries.slice(4))
    await settle()
    expect(applier.appliedIndex).toBe(6)
    await disk.step()
    await applied
    expect(applier.appliedIndex).toBe(10)
    expect(compared).toEqual(['6: skipped'])
  })

  it('an applier reports a comparison late if only its own checkpoint has to wait for space', async () => {
    const { applier, clock, disk, storage, compared } = setUp()
    storage.failWith(new NoSpaceError('disk'))
    void applier.apply(logWith(4, 6))
    await disk.step()
    expect([applier.appliedIndex, compared]).toEqual([10, []])
    storage.failWith(undefined)
    await clock.advance(50)
    await disk.step()
    expect(compared).toEqual(['6: 6'])
  })

  it('an applier that is stopped does not wait for a comparison', async () => {
    const { applier, disk, compared } = setUp({ checkpointEntries: 4 })
    const entries = logWith(4, 6)
    void applier.apply(entries.slice(0, 4))
    const applied = applier.apply(entries.slice(4))
    await settle()
    applier.stop()
    await disk.step()
    await expect(applied).rejects.toMatchObject({ name: 'ClosedError' })
    expect(compared).toEqual([])
  })

  it('an applier marks its rows as another state than that of the others, and stores nothing after that', async () => {
    const { applier, disk, storage } = setUp({ checkpointEntries: 4 })
    const entries = writebackLog(4)
    void applier.apply(entries.slice(0, 4))
    void applier.apply(entries.slice(4, 6))
    const reason = new Error('another state')
    let isMarked = false
    void applier.markDiverged(DIVERGENCE, reason).then(() => (isMarked = true))
    const closed = applier.close()
    expect(() => applier.apply(entries.slice(6))).toThrow(/closed/)
    await disk.step()
    expect(isMarked).toBe(false)
    await disk.step()
    expect(isMarked).toBe(true)
    await closed
    const store = createPageStore({ backend: storage.open() })
    expect([store.durableIndex, store.diverged]).toEqual([4, DIVERGENCE])
  })

  it('an applier with a marked state refuses further entries with the given error', async () => {
    const { applier, disk } = setUp()
    const reason = new Error('another state')
    const marked = applier.markDiverged(DIVERGENCE, reason)
    expect(() => applier.apply(writebackLog(1))).toThrow(reason)
    await settle()
    await disk.step()
    await marked
    expect(applier.diverged).toEqual(DIVERGENCE)
  })

  it('records that were rewritten from memory are those of the state', async () => {
    const { applier, disk, storage } = setUp()
    void applier.apply(writebackLog(3))
    const first = applier.checkpoint()
    await disk.step()
    await first
    expect(storage.damage('records', 3, 40)).toBe(true)
    expect(() => [...createPageStore({ backend: storage.copy().open() }).restored.records]).toThrow(/checksum/)
    applier.rewriteRecords()
    void applier.apply(writebackLog(4))
    const second = applier.checkpoint()
    await disk.step()
    await second
    const store = createPageStore({ backend: storage.copy().open() })
    expect(createApplier({ store, clock: manualClock() }).state.digest()).toBe(applier.state.digest())
  })
})
