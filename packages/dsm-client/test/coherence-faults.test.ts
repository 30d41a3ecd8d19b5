/** Faults, pins, waiters and frames, one message at a time. */
import { CacheFullError, PastEndError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { Page } from '../src/core/page.js'
import { PrivateCopies } from '../src/core/private-copies.js'
import { CoreHarness, FILE, PAGE, SMALL_CACHE } from './support/core.js'

const FRAMES = SMALL_CACHE / PAGE

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
    expect(h.take('ownerAckDirty').dirty.seq).toBe(3)
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

describe('pins', () => {
  it.each(['invalidate', 'revoke'] as const)('a pin for reading delays %s until its release', (type) => {
    const h = new CoreHarness().connect()
    h.have(0, type === 'revoke' ? 'write' : 'read', { value: 6 })
    const pin = h.access(0, 'read', { pin: true })
    h.order(type, 0, { op: 3 })
    expect(h.nothingSent).toBe(true)
    expect(h.isWanted(0)).toBe(true)
    expect(pin.bytes![0]).toBe(6)
    pin.unpin()
    expect(h.isWanted(0)).toBe(false)
    h.take(type === 'revoke' ? 'ownerAckDirty' : 'invalidateAck')
  })

  it('a pin for writing delays a downgrade and sends its last bytes along, and a pin for reading does not', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    const reading = h.access(0, 'read', { pin: true })
    h.order('downgrade', 0)
    h.take('ownerAckDirty')
    reading.unpin()
    const waiter = h.access(0, 'write', { pin: true })
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
    h.order('downgrade', 0)
    expect(h.nothingSent).toBe(true)
    waiter.bytes![0] = 77
    waiter.unpin()
    expect(h.take('ownerAckDirty').dirty.bytes[0]).toBe(77)
  })

  it('a pin that delays a revoke admits plain accesses, but no new pins', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    const pin = h.access(0, 'write', { pin: true })
    h.order('revoke', 0)
    const late = h.access(0, 'read', { pin: true })
    expect(late.state).toBe('waiting')
    expect(h.access(0, 'write', { write: 8 }).state).toBe('ran')
    pin.unpin()
    expect(h.take('ownerAckDirty').dirty.bytes[0]).toBe(8)
    h.grant(h.take('fault'))
    expect(late.state).toBe('ran')
  })

  it('a pin stays writable during a flush, which does not cover later writes', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    const pin = h.access(0, 'write', { pin: true })
    pin.bytes![0] = 1
    const flush = h.flush(0)
    const writeback = h.take('writeback')
    pin.bytes![0] = 2
    h.acknowledge(writeback)
    expect([flush.done, h.page(0)!.dirty]).toEqual([1, true])
    pin.unpin()
    h.flush(0)
    expect(h.take('writeback').pages[0]!.bytes[0]).toBe(2)
  })

  it('a pin fails an assertion at its second release', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read')
    const pin = h.access(0, 'read', { pin: true })
    pin.unpin()
    expect(() => pin.unpin()).toThrow('page 9:0 was unpinned more often than it was pinned')
  })

  it('a pin keeps its frame after a close or a lost session, and its writes then reach no other page', () => {
    for (const end of ['close', 'lose'] as const) {
      const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
      h.have(0, 'write')
      const pin = h.access(0, 'write', { pin: true })
      if (end === 'close') h.core.removeFile(FILE, new Error('closed'))
      else h.lose()
      expect(h.frames.usedBytes).toBe(PAGE)
      h.core.addFile({ file: FILE, path: '/f', pageSize: PAGE })
      if (end === 'lose') h.connect()
      h.sent = []
      for (let page = 0; page < FRAMES - 1; page++) h.have(page, 'read')
      pin.bytes!.fill(66)
      for (let page = 0; page < FRAMES - 1; page++) expect(h.peek(page)).toBe(0)
      pin.unpin()
      expect(h.nothingSent).toBe(true)
      // The unpin has freed the frame.
      h.have(FRAMES - 1, 'read')
      expect(h.frames.usedBytes).toBe(SMALL_CACHE)
      expect(h.core.counters.evictions).toBe(0)
    }
  })
})

describe('frames', () => {
  function pinned(count = FRAMES) {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
    const pins = Array.from({ length: count }, (_, page) => {
      const pin = h.access(page, 'read', { pin: true })
      h.grant(h.take('fault'))
      return pin
    })
    return { h, pins }
  }

  it('an access fails at once with CacheFullError while all frames are pinned', () => {
    const { h, pins } = pinned()
    const waiter = h.access(50, 'read')
    expect(waiter.error).toBeInstanceOf(CacheFullError)
    expect(waiter.error).toMatchObject({ cacheBytes: SMALL_CACHE })
    expect(h.nothingSent).toBe(true)
    expect(h.page(50)).toBeUndefined()
    pins[3]!.unpin()
    h.have(50, 'read', { value: 1 })
    expect(h.peek(50)).toBe(1)
  })

  it('an access waits for frames that will become free', () => {
    const { h, pins } = pinned(FRAMES - 1)
    const first = h.access(50, 'read')
    const fault = h.take('fault')
    const second = h.access(51, 'read')
    expect([second.state, h.nothingSent]).toEqual(['waiting', true])
    h.grant(fault)
    expect(first.state).toBe('ran')
    h.grant(h.take('fault'))
    expect(second.state).toBe('ran')
    for (const pin of pins) pin.unpin()
  })

  it('writebacks free the frames of dirty pages in the order in which the pages became dirty', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect({ creditBytes: 2 * PAGE })
    const written: number[] = []
    const wait = h.access(50, 'read')
    for (const page of [5, 3, ...Array.from({ length: FRAMES - 3 }, (_, index) => index + 20)]) {
      h.access(page, 'write', { write: 1 })
      h.grant(h.pick('fault'))
    }
    h.grant(h.pick('fault'))
    expect(wait.state).toBe('ran')
    const starved = [h.access(51, 'read'), h.access(52, 'read')]
    while (starved.some((waiter) => waiter.state === 'waiting')) {
      const next = h.sent[0]?.message.type
      if (next === 'fault') {
        h.grant(h.take('fault'))
        continue
      }
      const writeback = h.take('writeback')
      written.push(...writeback.pages.map((page) => page.page))
      h.acknowledge(writeback)
    }
    expect(written.slice(0, 3)).toEqual([5, 3, 20])
  })

  it('an upgrade needs no free frame, because its page has one', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { epoch: 3, write: 1 })
    h.order('downgrade', 50)
    const { dirty } = h.take('ownerAckDirty')
    const starved = h.access(51, 'read')
    const writer = h.access(50, 'write', { write: 2 })
    h.grant(h.take('fault'), { epoch: 3, seq: dirty.seq })
    expect([writer.state, starved.state]).toEqual(['ran', 'waiting'])
  })

  it('an access fails if a full leader keeps all frames in use, and the next access tries again', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { write: 1 })
    const waiter = h.access(51, 'read')
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: { code: 'ERR_NO_SPACE', facts: ['peer'] } })
    expect(waiter.error).toMatchObject({ name: 'NoSpaceError' })
    const next = h.access(51, 'read')
    h.acknowledge(h.take('writeback'))
    h.grant(h.take('fault'))
    expect(next.state).toBe('ran')
  })

  it('an access waits for a retry if a busy leader keeps all frames in use', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { write: 1 })
    const waiter = h.access(51, 'read')
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: { code: 'ERR_UNAVAILABLE', facts: ['busy'] } })
    expect([waiter.state, h.nothingSent]).toEqual(['waiting', true])
    h.core.retry()
    h.drain()
    h.acknowledge(h.take('writeback'))
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
  })
})

describe('files in the core', () => {
  it('a removed file fails all its waiters, and the client still answers the demotions of the leader', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read')
    const pin = h.access(0, 'read', { pin: true })
    h.order('invalidate', 0, { op: 6 })
    const waiter = h.access(1, 'write')
    const fault = h.take('fault')
    h.core.removeFile(FILE, new Error('closed'))
    h.drain()
    expect(waiter.error?.message).toBe('closed')
    expect(h.take('invalidateAck').op).toBe(6)
    // The grant is in flight, and the leader expects the client to use it.
    h.grant(fault)
    h.order('revoke', 1, { op: 7, after: fault.req })
    expect(h.take('ownerAck')).toMatchObject({ op: 7, held: false })
    pin.unpin()
    expect(h.frames.usedBytes).toBe(0)
  })

  it('an access of a file that is not open throws', () => {
    const h = new CoreHarness().connect()
    expect(() => h.access(0, 'read', { file: 8 })).toThrow('access to file 8, which is not open')
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

describe('demotions that overtake their grants', () => {
  it('the client obeys an early demotion when an eviction drops the fault', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'read')
    const { req } = h.take('fault')
    h.order('invalidate', 0, { op: 7, after: req })
    expect(h.nothingSent).toBe(true)
    h.core.table.ranges.beginEviction(h.page(0) as Page)
    h.drain()
    expect(h.take('invalidateAck').op).toBe(7)
  })

  it('the client obeys an early demotion when it unmaps the file', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'read')
    const { req } = h.take('fault')
    h.order('invalidate', 0, { op: 7, after: req })
    h.core.refuseWaiters(FILE, new Error('closed'))
    h.core.unmapFile(FILE)
    h.drain()
    expect(h.take('invalidateAck').op).toBe(7)
  })
})

describe('lost sessions', () => {
  it('a lost session frees private copies at once, and pinned ones with their release', () => {
    const h = new CoreHarness().connect()
    const copies = new PrivateCopies(h.core.table.frames)
    h.core.table.space(FILE)!.privateCopies.add(copies)
    for (const index of [0, 1]) {
      h.core.table.frames.wantFrames(
        PAGE,
        1,
        ([frame]) => copies.add(index, frame!, new Uint8Array(PAGE)),
        () => {}
      )
    }
    const unpin = copies.pin(1, 1)
    h.lose()
    expect(h.frames.usedBytes).toBe(PAGE)
    unpin()
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a lost session lists dirty bytes as merged ranges, file by file', () => {
    const h = new CoreHarness({ cacheBytes: 4 * 1024 * 1024 }).connect()
    h.core.addFile({ file: 10, path: '/g', pageSize: 2 * PAGE })
    for (const page of [7, 3, 4, 5]) h.have(page, 'write')
    h.have(6, 'read')
    h.core.access(10, 2, { access: 'write', pin: false, run: () => {}, fail: () => {} })
    h.drain()
    h.grant(h.take('fault'), { bytes: new Uint8Array(0) })
    expect(h.lose()).toEqual([
      { file: '9', path: '/f', offset: 3 * PAGE, length: 3 * PAGE },
      { file: '9', path: '/f', offset: 7 * PAGE, length: PAGE },
      { file: '10', path: '/g', offset: 4 * PAGE, length: 2 * PAGE }
    ])
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a lost session fails waiters and flushes, and counts bytes in flight as lost', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const waiter = h.access(1, 'read')
    expect(h.lose()).toEqual([{ file: '9', path: '/f', offset: 0, length: PAGE }])
    expect(waiter.error?.message).toBe('the session is gone')
    expect(flush.errors.map((error) => error.message)).toEqual(['the session is gone'])
  })

  it('a lost session reports no lost bytes if all were flushed', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    h.flush(0)
    h.acknowledge(h.take('writeback'))
    expect(h.lose()).toEqual([])
  })
})
