/** Faults and the accesses that wait for them, one message at a time. */
import { PastEndError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { Page } from '../src/core/page.js'
import { CoreHarness, FILE, PAGE, SMALL_CACHE, FRAMES } from './support/core.js'

describe('faults', () => {
  it('the client sends one fault for all waiters of a page', () => {
    const h = new CoreHarness().connect()
    const waiters = [h.access(0, 'read'), h.access(0, 'read'), h.access(0, 'read')]
    const fault = h.take('fault')
    expect(h.nothingSent).toBe(true)
    h.grant(fault)
    expect(waiters.map((waiter) => waiter.state)).toEqual(['ran', 'ran', 'ran'])
    expect(h.core.counters).toMatchObject({ readFaults: 1, grants: 1, hits: 0 })
  })

  it('the client sends a write fault after a read fault if a writer arrived in between', () => {
    const h = new CoreHarness().connect()
    const reader = h.access(0, 'read')
    const writer = h.access(0, 'write')
    h.grant(h.take('fault'), { version: 10 })
    expect([reader.state, writer.state]).toEqual(['ran', 'waiting'])
    const upgrade = h.take('fault')
    expect([upgrade.access, upgrade.have]).toEqual(['write', 10])
    h.grant(upgrade, { bytes: undefined })
    expect(writer.state).toBe('ran')
  })

  it('a write fault on a readable page brings no bytes, and counts as an upgrade', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 3, version: 10 })
    const { bytesIn } = h.core.counters
    const writer = h.access(0, 'write')
    h.grant(h.take('fault'), { bytes: undefined, version: 10 })
    expect(writer.bytes![0]).toBe(3)
    expect(h.core.counters).toMatchObject({ upgradeFaults: 1, writeFaults: 0, bytesIn })
  })

  it('the client sends no fault if the page table allows the access', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    expect(h.access(0, 'read').state).toBe('ran')
    expect(h.access(0, 'write').state).toBe('ran')
    expect(h.nothingSent).toBe(true)
    expect(h.core.counters.hits).toBe(2)
  })

  it('a failed fault fails all waiters, and leaves neither a page nor a frame behind', () => {
    const h = new CoreHarness().connect()
    const waiters = [h.access(7, 'read'), h.access(7, 'write')]
    const { req, file, page } = h.take('fault')
    const error = errorToWire(new PastEndError('/f', 7 * PAGE, 100))
    h.receive({ type: 'faultFailed', term: 5, req, file, page, error })
    for (const waiter of waiters)
      expect(waiter.error).toMatchObject({ name: 'PastEndError', offset: 7 * PAGE, size: 100 })
    expect(h.page(7)).toBeUndefined()
    expect(h.frames.usedBytes).toBe(0)
    expect(h.access(7, 'read').state).toBe('waiting')
    h.take('fault')
  })

  it('a fault waits in a queue while the leader allows no more outstanding faults', () => {
    const h = new CoreHarness().connect({ maxFaults: 2 })
    const waiters = [0, 1, 2, 3].map((page) => h.access(page, 'read'))
    const faults = [h.take('fault'), h.take('fault')]
    expect(h.nothingSent).toBe(true)
    h.grant(faults[1]!)
    const third = h.take('fault')
    expect(third.page).toBe(2)
    expect(h.nothingSent).toBe(true)
    h.grant(faults[0]!)
    h.grant(third)
    h.grant(h.take('fault'))
    expect(waiters.map((waiter) => waiter.state)).toEqual(['ran', 'ran', 'ran', 'ran'])
  })

  it('a fault waits until the client has a connection', () => {
    const h = new CoreHarness()
    const waiter = h.access(0, 'read')
    expect(h.nothingSent).toBe(true)
    h.connect()
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
  })

  it('a page continues after an eviction with the writeback number in its grant', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
    h.have(0, 'write', { epoch: 3, write: 1 })
    h.flush(0)
    h.acknowledge(h.take('writeback'))
    for (let page = 1; page <= FRAMES; page++) h.have(page, 'read')
    expect(h.page(0)).toBeUndefined()
    expect(h.core.counters.evictions).toBe(1)
    h.have(0, 'write', { epoch: 3, seq: 8, write: 2 })
    h.flush(0)
    expect(h.take('writeback').pages[0]).toMatchObject({ epoch: 3, seq: 9 })
  })

  it('a grant never lowers the number of the next writeback', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 1 })
    for (const value of [2, 3]) {
      h.flush(0)
      h.acknowledge(h.take('writeback'))
      h.access(0, 'write', { write: value })
    }
    h.order('downgrade', 0)
    expect(h.takeDirty().dirty.seq).toBe(3)
    h.access(0, 'write', { write: 4 })
    h.grant(h.take('fault'), { epoch: 3, seq: 2 })
    h.flush(0)
    expect(h.take('writeback').pages[0]!.seq).toBe(4)
  })
})

describe('withdrawn waiters', () => {
  it('a withdrawn waiter leaves other waiters of the page alone', () => {
    const h = new CoreHarness().connect()
    const [first, second, third] = [h.access(0, 'read'), h.access(0, 'read'), h.access(0, 'read')]
    second.withdraw()
    h.grant(h.take('fault'))
    expect([first.state, second.state, third.state]).toEqual(['ran', 'waiting', 'ran'])
  })

  it('the client keeps a page granted after a withdrawal, because the leader counts it as a holder', () => {
    const h = new CoreHarness().connect()
    const waiter = h.access(0, 'read')
    waiter.withdraw()
    h.grant(h.take('fault'), { value: 4 })
    expect(waiter.state).toBe('waiting')
    expect(h.peek(0)).toBe(4)
  })

  it('a waiter can be withdrawn twice, and after it has run', () => {
    const h = new CoreHarness().connect()
    const [first, second] = [h.access(0, 'read'), h.access(0, 'read')]
    first.withdraw()
    first.withdraw()
    h.grant(h.take('fault'))
    second.withdraw()
    expect(second.state).toBe('ran')
  })

  it('a withdrawn waiter removes its fault from the queue', () => {
    const h = new CoreHarness().connect({ maxFaults: 1 })
    h.access(0, 'read')
    const waiter = h.access(1, 'read')
    waiter.withdraw()
    h.grant(h.take('fault'))
    expect(h.nothingSent).toBe(true)
    expect(h.page(1)?.waiters ?? []).toEqual([])
  })

  it('the client can evict a page after the withdrawal of its queued upgrade', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect({ maxFaults: 1 })
    for (let page = 0; page < FRAMES - 1; page++) h.have(page, 'read')
    h.access(100, 'read')
    const fault = h.take('fault')
    const waiter = h.access(101, 'read')
    const upgrades = Array.from({ length: FRAMES - 1 }, (_, page) => h.access(page, 'write'))
    for (const upgrade of upgrades) upgrade.withdraw()
    h.grant(fault)
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
    expect(h.core.counters.evictions).toBe(1)
  })
})

describe('dropped faults', () => {
  const evict = (h: CoreHarness, index: number): void => {
    const page = h.page(index) as Page
    h.core.table.ranges.beginEviction(page)
    h.core.table.ranges.endEviction(page)
    h.drain()
  }
  /** The leader allows two faults. The fault of page 0 is dropped, and page 2 waits in the queue. */
  const withDropped = () => {
    const h = new CoreHarness().connect({ maxFaults: 2 })
    const [waiter] = [h.access(0, 'read'), h.access(1, 'read'), h.access(2, 'read')]
    const [dropped, other] = [h.take('fault'), h.take('fault')]
    waiter.withdraw()
    evict(h, 0)
    h.core.retry()
    h.drain()
    expect(h.nothingSent).toBe(true)
    return { h, dropped, other }
  }

  it('a dropped fault stays outstanding until the leader answers it', () => {
    for (const answer of ['grant', 'faultFailed'] as const) {
      const { h, dropped } = withDropped()
      const { req, file, page } = dropped
      const error = errorToWire(new PastEndError('/f', 0, 0))
      if (answer === 'grant') h.grant(dropped)
      else h.receive({ type: answer, term: 5, req, file, page, error })
      expect(h.take('fault')).toMatchObject({ page: 2 })
      expect(h.peek(0)).toBeUndefined()
    }
  })

  it('a newer fault for the page replaces a dropped one, whose answer then frees no place', () => {
    const { h, dropped, other } = withDropped()
    h.grant(other)
    h.grant(h.take('fault'))
    h.access(0, 'read')
    const again = h.take('fault')
    expect(again).toMatchObject({ page: 0 })
    h.access(3, 'read')
    expect(h.take('fault')).toMatchObject({ page: 3 })
    h.access(4, 'read')
    h.grant(dropped)
    expect(h.nothingSent).toBe(true)
    h.grant(again)
    expect(h.take('fault')).toMatchObject({ page: 4 })
  })

  it('a dropped fault of a removed file stays outstanding until the leader answers the close', () => {
    const h = new CoreHarness().connect({ maxFaults: 1 })
    h.core.addFile({ file: 8, path: '/g', pageSize: PAGE })
    h.access(0, 'read')
    h.take('fault')
    const waiter = h.access(0, 'read', { file: 8 })
    h.core.removeFile(FILE, new Error('closed'))
    h.drain()
    expect(h.nothingSent).toBe(true)
    h.core.fileClosed(FILE)
    h.drain()
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
  })

  it('the client forgets dropped faults when the connection ends', () => {
    const { h } = withDropped()
    h.disconnect()
    h.connect({ maxFaults: 2 })
    expect([h.take('fault').page, h.take('fault').page]).toEqual([1, 2])
  })
})
