import { describe, expect, it } from 'vitest'
import { ClosedError, CodecError, NoSpaceError } from '@quire/protocol'
import { createApplier, createPageStore, type ApplierInit, type MemoryStorage } from '../src/pages/index.js'
import type { Applied } from '../src/state/index.js'
import {
  filled,
  manualClock,
  manualScheduler,
  memoryStorage,
  PAGE,
  settle,
  writebackLog as log
} from './state-helpers.js'

function setUp(init: Partial<ApplierInit> & { maxMemtableBytes?: number; storage?: MemoryStorage } = {}) {
  const clock = manualClock()
  const disk = manualScheduler()
  const storage = init.storage ?? memoryStorage(disk.schedule)
  const store = createPageStore({ backend: storage.open(), maxMemtableBytes: init.maxMemtableBytes })
  const applier = createApplier({ store, clock, ...init })
  return { clock, disk, storage, store, applier }
}

describe('appliers', () => {
  it('an applier applies entries in order, reports each with its term, and skips entries that it has applied', () => {
    const reports: [number, Applied['type'] | undefined, number][] = []
    const { applier } = setUp({ onApplied: (index, applied, term) => reports.push([index, applied?.type, term]) })
    const entries = log(1)
    expect(applier.apply(entries.slice(0, 2))).toBeUndefined()
    void applier.apply(entries)
    void applier.apply([{ index: 5, term: 4, kind: 'noop', data: new Uint8Array(0) }])
    expect(reports).toEqual([
      [1, 'session-opened', 3],
      [2, 'opened', 3],
      [3, 'handover', 3],
      [4, 'writeback', 3],
      [5, undefined, 4]
    ])
  })

  it('an applier checkpoints after the interval, and raises durableIndex when the backend has committed', async () => {
    const { applier, clock, disk } = setUp({ checkpointIntervalMs: 100 })
    void applier.apply(log(1))
    await clock.advance(99)
    expect(disk.length).toBe(0)
    await clock.advance(1)
    expect(disk.length).toBe(1)
    expect(applier.durableIndex).toBe(0)
    await disk.step()
    expect(applier.durableIndex).toBe(4)
    await clock.advance(1000)
    expect(disk.length).toBe(0)
  })

  it('an applier checkpoints after the given number of entries', async () => {
    const { applier, disk } = setUp({ checkpointEntries: 4 })
    void applier.apply(log(0))
    expect(disk.length).toBe(0)
    void applier.apply(log(1))
    await disk.step()
    expect(applier.durableIndex).toBe(4)
  })

  it('an applier applies further entries while a checkpoint runs', async () => {
    const { applier, disk } = setUp({ checkpointEntries: 4 })
    void applier.apply(log(1))
    expect(disk.length).toBe(1)
    expect(applier.apply(log(2))).toBeUndefined()
    expect(applier.appliedIndex).toBe(6)
    expect(applier.state.page(2, 1).bytes).toEqual(filled(2))
    await disk.step()
    expect(applier.durableIndex).toBe(4)
  })

  it('an applier holds entries back while both memtables are full, which exceed their limit by one entry at most', async () => {
    const maxMemtableBytes = 20 * PAGE
    const { applier, disk, store } = setUp({ maxMemtableBytes })
    const entries = log(60)
    let most = 0
    let done = false
    const applied = applier.apply(entries)
    expect(applied).toBeInstanceOf(Promise)
    void Promise.resolve(applied).then(() => (done = true))
    const stuckAt = applier.appliedIndex
    await settle()
    expect(applier.appliedIndex).toBe(stuckAt)
    expect(applier.state.page(2, 0).bytes).toEqual(filled(1))
    while (!done) {
      expect(disk.length).toBeGreaterThan(0)
      await disk.step()
      most = Math.max(most, store.memtableBytes)
    }
    expect(applier.appliedIndex).toBe(entries.length)
    expect(most).toBeLessThanOrEqual(maxMemtableBytes + 2 * PAGE)
  })

  it('an applier queues later calls of apply behind one that waits for a checkpoint', async () => {
    const { applier, disk } = setUp({ maxMemtableBytes: 4 * PAGE })
    const entries = log(20)
    const first = applier.apply(entries.slice(0, 30))
    const second = applier.apply(entries.slice(30))
    expect(second).toBeInstanceOf(Promise)
    while (applier.appliedIndex < entries.length) await disk.step()
    await Promise.all([first, second])
  })

  it('an applier reports a full disk, holds entries back, serves reads, and continues when there is room again', async () => {
    const faults: (string | undefined)[] = []
    const { applier, clock, disk, storage } = setUp({
      maxMemtableBytes: 4 * PAGE,
      retryMs: 50,
      onFault: (fault) => faults.push(fault?.name)
    })
    storage.failWith(new NoSpaceError('disk'))
    const entries = log(20)
    const applied = applier.apply(entries)
    for (let i = 0; i < 5; i++) {
      await disk.step()
      await clock.advance(50)
    }
    expect(applier.fault).toBeInstanceOf(NoSpaceError)
    expect(applier.appliedIndex).toBeLessThan(entries.length)
    expect(applier.state.page(2, 0).bytes).toEqual(filled(1))
    storage.failWith(undefined)
    for (let i = 0; i < 50; i++) {
      await disk.step()
      await clock.advance(50)
    }
    await applied
    expect(faults).toEqual(['NoSpaceError', undefined])
    expect(applier.appliedIndex).toBe(entries.length)
  })

  it('an applier applies nothing more after an error of the backend other than NoSpaceError', async () => {
    const { applier, disk, storage } = setUp({ maxMemtableBytes: 4 * PAGE })
    storage.failWith(new Error('the disk is on fire'))
    const applied = applier.apply(log(20))
    const refused = expect(applied).rejects.toThrow('on fire')
    await disk.step()
    await refused
    expect(() => applier.apply(log(30))).toThrow('on fire')
    await expect(applier.checkpoint()).rejects.toThrow('on fire')
    await applier.close()
    expect(applier.durableIndex).toBe(0)
  })

  it('an applier makes no checkpoint after an entry that it could not apply', async () => {
    const faults: (Error | undefined)[] = []
    const { applier, disk } = setUp({ onFault: (fault) => faults.push(fault) })
    void applier.apply(log(1))
    expect(() => applier.apply([{ index: 5, term: 1, kind: 'normal', data: new Uint8Array([1, 99]) }])).toThrow(
      CodecError
    )
    expect(faults).toHaveLength(1)
    await applier.close()
    expect(disk.length).toBe(0)
  })

  it('an applier makes a checkpoint on close, and refuses further entries', async () => {
    const storage = memoryStorage()
    const { applier } = setUp({ storage })
    await applier.apply(log(3))
    const digest = applier.state.digest()
    await applier.close()
    expect(() => applier.apply(log(4))).toThrow(ClosedError)
    const { applier: next } = setUp({ storage })
    expect(next.appliedIndex).toBe(8)
    expect(next.durableIndex).toBe(8)
    expect(next.state.digest()).toBe(digest)
  })

  it('an applier resolves close on a full disk, and leaves the last checkpoint as it is', async () => {
    const storage = memoryStorage()
    const { applier, clock } = setUp({ storage, checkpointIntervalMs: 10 })
    await applier.apply(log(1))
    await applier.checkpoint()
    storage.failWith(new NoSpaceError('disk'))
    await applier.apply(log(2))
    await clock.advance(10)
    await applier.close()
    expect(applier.fault).toBeInstanceOf(NoSpaceError)
    expect(createPageStore({ backend: storage.open() }).durableIndex).toBe(4)
  })

  it('an applier that is stopped rejects calls of apply that wait for room', async () => {
    const { applier, disk, storage } = setUp({ maxMemtableBytes: 4 * PAGE })
    storage.failWith(new NoSpaceError('disk'))
    const refused = expect(applier.apply(log(20))).rejects.toThrow(ClosedError)
    await disk.step()
    applier.stop()
    await refused
  })

  it('an applier has the same state after a crash, once the log has replayed the entries after the checkpoint', async () => {
    const { applier, disk, storage } = setUp({ checkpointEntries: 4 })
    void applier.apply(log(1))
    await disk.step()
    void applier.apply(log(5))
    storage.crash()
    const { applier: next } = setUp({ storage })
    expect(next.appliedIndex).toBe(4)
    void next.apply(log(5))
    expect(next.state.digest()).toBe(applier.state.digest())
  })

  it('an applier tells of each checkpoint once, when it is durable', async () => {
    const checkpoints: number[] = []
    const { applier, clock, disk, storage } = setUp({
      checkpointEntries: 4,
      retryMs: 50,
      onCheckpoint: (index) => checkpoints.push(index)
    })
    storage.failWith(new NoSpaceError('disk'))
    void applier.apply(log(1))
    await disk.step()
    expect(applier.fault).toBeInstanceOf(NoSpaceError)
    storage.failWith(undefined)
    await clock.advance(50)
    expect([disk.length, ...checkpoints]).toEqual([1])
    await disk.step()
    expect(checkpoints).toEqual([4])
    void applier.apply(log(5))
    // Entries that follow during a checkpoint are not part of it.
    void applier.apply(log(6))
    await disk.step()
    expect(checkpoints).toEqual([4, 12])
    expect([applier.durableIndex, applier.appliedIndex]).toEqual([12, 14])
  })

  it('an applier tells of no checkpoint that has failed for good', async () => {
    const checkpoints: number[] = []
    const { applier, disk, storage } = setUp({ checkpointEntries: 4, onCheckpoint: (index) => checkpoints.push(index) })
    storage.failWith(new Error('the disk is on fire'))
    void applier.apply(log(1))
    await disk.step()
    expect(applier.fault).toMatchObject({ message: 'the disk is on fire' })
    await applier.close()
    expect(checkpoints).toEqual([])
  })
})

describe('appliers whose state is replaced', () => {
  /** The rows of a page store that has applied the log of so many pages. */
  async function rowsAfter(pages: number): Promise<{ storage: MemoryStorage; digest: string }> {
    const storage = memoryStorage()
    const { applier } = setUp({ storage })
    await applier.apply(log(pages))
    const digest = applier.state.digest()
    await applier.close()
    return { storage, digest }
  }

  it('an applier whose state is replaced applies the entries after the new state, and checkpoints them', async () => {
    const { storage } = await rowsAfter(5)
    const { applier, clock } = setUp({ storage: memoryStorage(), checkpointEntries: 8, checkpointIntervalMs: 100 })
    await applier.apply(log(2))
    await applier.replace(() => Promise.resolve(storage.open()))
    expect(applier).toMatchObject({ appliedIndex: 12, durableIndex: 12 })
    // Neither an earlier timer nor earlier entries count for the next checkpoint.
    await clock.advance(200)
    await applier.apply(log(8))
    await settle()
    expect(applier).toMatchObject({ appliedIndex: 18, durableIndex: 12 })
    await clock.advance(100)
    expect(applier.durableIndex).toBe(18)
    const { applier: plain } = setUp({ storage })
    expect(plain.state.digest()).toBe(applier.state.digest())
  })

  it('an applier whose state is replaced has no fault of the former rows any more', async () => {
    const { storage, digest } = await rowsAfter(5)
    const former = memoryStorage()
    const faults: (string | undefined)[] = []
    const { applier } = setUp({
      storage: former,
      checkpointEntries: 4,
      onFault: (fault) => faults.push(fault?.name)
    })
    former.failWith(new NoSpaceError('disk'))
    await applier.apply(log(2))
    await settle()
    expect(applier.fault).toBeInstanceOf(NoSpaceError)
    await applier.replace(() => Promise.resolve(storage.open()))
    expect(faults).toEqual(['NoSpaceError', undefined])
    expect(applier.state.digest()).toBe(digest)
    await applier.close()
  })

  it('an applier whose state cannot be replaced applies nothing more, and changes no rows when it closes', async () => {
    const { storage } = await rowsAfter(5)
    const former = memoryStorage()
    const { applier } = setUp({ storage: former })
    await applier.apply(log(2))
    const adopt = () => Promise.reject(new Error('the disk is on fire'))
    await expect(applier.replace(adopt)).rejects.toThrow('on fire')
    expect(() => applier.apply(log(3))).toThrow('on fire')
    await applier.close()
    expect([former.size, storage.size > 0]).toEqual([0, true])
  })

  it('an applier that is stopped replaces no state', async () => {
    const { applier } = setUp({ storage: memoryStorage() })
    await applier.apply(log(2))
    applier.stop()
    let adopted = false
    const adopt = () => {
      adopted = true
      return Promise.reject(new Error('not reached'))
    }
    await expect(applier.replace(adopt)).rejects.toThrow(ClosedError)
    expect(adopted).toBe(false)
    await applier.close()
    expect(applier.durableIndex).toBe(6)
  })
})
