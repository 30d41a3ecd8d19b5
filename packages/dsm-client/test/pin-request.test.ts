/** Pins that wait for pages or frames, one message at a time. */
import { CacheFullError, PinConflictError, type Access } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import type { Frame } from '../src/core/frames.js'
import type { Page } from '../src/core/page.js'
import { isContiguous } from '../src/core/resident-pages.js'
import { requestPin } from '../src/core/pin-request.js'
import { CoreHarness, FILE, FRAMES, PAGE, SMALL_CACHE } from './support/core.js'

const WHOLE = 11

interface Pin {
  state: 'waiting' | 'done' | 'failed'
  pages: readonly Page[]
  error: Error | undefined
  /** The number of pages that the pin had, each time that the number exceeded all earlier ones. */
  advances: number[]
  release: () => void
  withdraw: () => void
}

function request(h: CoreHarness, first: number, count: number, access: Access = 'write', file = FILE): Pin {
  const { table } = h.core
  const pin: Pin = {
    state: 'waiting',
    pages: [],
    error: undefined,
    advances: [],
    release: () => {},
    withdraw: () => {}
  }
  pin.release = () => {
    for (const page of pin.pages) table.unpin(page, access)
    h.drain()
  }
  const withdraw = requestPin(
    table,
    { space: table.space(file)!, first, count, access },
    {
      done: (pages) => Object.assign(pin, { state: 'done', pages }),
      fail: (error) => Object.assign(pin, { state: 'failed', error }),
      advanced: (count) => pin.advances.push(count)
    }
  )
  pin.withdraw = () => {
    withdraw()
    h.drain()
  }
  h.drain()
  return pin
}

/** A pin of pages 0 to 3 that waits for room. Page 0 is readable, and all other frames are dirty. */
function withoutRoom() {
  const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
  h.have(0, 'read')
  for (let page = 20; page < 20 + FRAMES - 1; page++) {
    h.access(page, 'write', { write: 1 })
    h.grant(h.pick('fault'))
  }
  const pin = request(h, 0, 4, 'read')
  expect(pin.state).toBe('waiting')
  const acknowledgeAll = (): void => {
    while (h.sent.some(({ message }) => message.type === 'writeback')) h.acknowledge(h.pick('writeback'))
  }
  return { h, pin, acknowledgeAll }
}

describe('a pin that waits for room', () => {
  it('a pin that waits for room pins the pages that are present when there is room, not those that were present before', () => {
    const { h, pin, acknowledgeAll } = withoutRoom()
    h.order('invalidate', 0)
    h.pick('invalidateAck')
    acknowledgeAll()
    for (let page = 0; page < 4; page++) h.grant(h.pick('fault'), { value: page + 1 })
    expect(pin.state).toBe('done')
    expect(pin.pages.map((page) => page === h.page(page.index))).toEqual([true, true, true, true])
    expect(pin.pages.map(({ frame }) => frame!.bytes[0])).toEqual([1, 2, 3, 4])
    expect(isContiguous(pin.pages)).toBe(true)
    pin.release()
    expect([0, 1, 2, 3].map((page) => h.page(page)!.isHeld)).toEqual([false, false, false, false])
  })

  it('a pin that waits for room moves its own pages if they occupy the only run of frames that is large enough', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
    // Frames of private copies, which cannot be evicted.
    const taken: Frame[] = []
    const takeFrame = (): void => {
      const take = ([frame]: readonly Frame[]): void => void taken.push(frame!)
      h.core.table.frames.wantFrames(PAGE, 1, take, (error) => expect.unreachable(error.message))
    }
    takeFrame()
    h.have(1, 'read', { value: 11 })
    h.have(0, 'write', { write: 22 })
    while (taken.length < FRAMES - 2) takeFrame()
    // There is one run of three frames. Pages 1 and 0 have the first two, in the wrong order.
    h.core.table.frames.releaseFrame(taken[1]!)
    const tooLarge = request(h, 0, 4, 'read')
    expect(tooLarge.error).toBeInstanceOf(CacheFullError)
    const pin = request(h, 0, 3, 'read')
    h.grant(h.pick('fault'), { value: 33 })
    expect(pin.state).toBe('done')
    expect(isContiguous(pin.pages)).toBe(true)
    expect(pin.pages.map(({ frame }) => frame!.bytes[0])).toEqual([22, 11, 33])
    expect([h.page(0)!.dirty, h.page(1)!.dirty]).toEqual([true, false])
  })

  it('a pin that waits for room fails when the session is lost, before its frames become free', () => {
    const { h, pin } = withoutRoom()
    h.lose()
    expect(pin.error?.message).toBe('the session is gone')
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a pin that waits for room fails when the file is removed or refuses waiters', () => {
    for (const end of ['removeFile', 'refuseWaiters'] as const) {
      const { h, pin, acknowledgeAll } = withoutRoom()
      h.core[end](FILE, new Error('closed'))
      h.drain()
      acknowledgeAll()
      expect(pin.error?.message).toBe('closed')
    }
  })
})

describe('an incomplete pin', () => {
  it('an incomplete pin asks for all its pages at once, and takes hold of them in ascending order', () => {
    const h = new CoreHarness().connect()
    const pin = request(h, 5, 3)
    const faults = [h.take('fault'), h.take('fault'), h.take('fault')]
    expect(faults.map(({ page }) => page)).toEqual([5, 6, 7])
    h.grant(faults[1]!)
    h.grant(faults[2]!)
    expect(pin.advances).toEqual([])
    // Page 6 arrived before its turn, so another client may have it. The pin has not written to it.
    h.order('revoke', 6, { op: 1 })
    expect(h.take('ownerAck')).toMatchObject({ page: 6, held: true })
    h.grant(faults[0]!)
    expect([pin.state, pin.advances]).toEqual(['waiting', [1]])
    h.grant(h.take('fault'))
    expect([pin.state, pin.advances]).toEqual(['done', [1, 2, 3]])
    expect(h.nothingSent).toBe(true)
  })

  it('an incomplete pin that had to give way asks for one page after the other', () => {
    const h = new CoreHarness().connect()
    h.have(5, 'read')
    const pin = request(h, 5, 3, 'read')
    h.grant(h.take('fault'))
    const rest = h.take('fault')
    h.order('invalidate', 5, { op: 1 })
    h.advance(1000)
    h.take('invalidateAck')
    const first = h.take('fault')
    expect([first.page, h.nothingSent]).toEqual([5, true])
    h.grant(first)
    h.grant(rest)
    expect(pin.state).toBe('done')
  })

  it('an incomplete pin delays the revoke of a whole file until it has all pages, even beyond the limit of outstanding faults', () => {
    const h = new CoreHarness().connect({ maxFaults: 2 })
    h.core.addFile({ file: WHOLE, path: '/whole', pageSize: PAGE, unit: 'file' })
    const pin = request(h, 0, 5, 'write', WHOLE)
    const first = [h.take('fault'), h.take('fault')]
    h.receive({ type: 'revoke', term: 5, op: 3, file: WHOLE, page: 0, count: 1, after: first[1]!.req })
    for (const fault of first) h.grant(fault, { owner: true })
    // Other accesses send no more faults.
    const late = h.access(7, 'read', { file: WHOLE })
    for (let page = 2; page < 5; page++) {
      expect(pin.state).toBe('waiting')
      const fault = h.take('fault')
      expect(fault.page).toBe(page)
      h.grant(fault, { owner: true })
    }
    expect([pin.state, late.state, h.nothingSent]).toEqual(['done', 'waiting', true])
    pin.release()
    h.acknowledge(h.take('writeback'))
    expect(h.take('ownerAck').op).toBe(3)
    expect(h.take('fault').page).toBe(7)
  })

  it('an incomplete pin gives a whole file up after a delay that doubles each time, and starts again after the answer', () => {
    const h = new CoreHarness().connect({ maxFaults: 2 })
    h.core.addFile({ file: WHOLE, path: '/whole', pageSize: PAGE, unit: 'file' })
    // A fault for another file, which a session holds that wants this file.
    h.access(0, 'read')
    const elsewhere = h.take('fault')
    const pin = request(h, 0, 3, 'read', WHOLE)
    for (const [op, patienceMs] of [
      [1, 50],
      [2, 100]
    ] as const) {
      const first = h.take('fault')
      h.receive({ type: 'revoke', term: 5, op, file: WHOLE, page: 0, count: 1, after: first.req })
      h.grant(first, { owner: true, access: 'write', epoch: op })
      const second = h.take('fault')
      expect(first.page).toBe(0)
      expect(h.core.nextDeadline).toBe(h.now + patienceMs)
      h.advance(patienceMs)
      // The leader may still grant the outstanding fault.
      expect(h.nothingSent).toBe(true)
      h.grant(second, { owner: true, access: 'write', epoch: op })
      expect(h.take('ownerAck').op).toBe(op)
    }
    h.grant(elsewhere)
    while (!h.nothingSent) h.grant(h.take('fault'), { owner: true, access: 'write', epoch: 3 })
    expect(pin.state).toBe('done')
    // A page that the pin gave back and gets again is no progress, so the time of its caller runs out.
    expect(pin.advances).toEqual([1, 2, 3])
    expect(h.core.nextDeadline).toBe(Infinity)
  })

  it('an incomplete pin of a whole file requests all its pages at once, so that they arrive in one turn', () => {
    const h = new CoreHarness().connect()
    h.core.addFile({ file: WHOLE, path: '/whole', pageSize: PAGE, unit: 'file' })
    const pin = request(h, 0, 3, 'write', WHOLE)
    const faults = [h.take('fault'), h.take('fault'), h.take('fault')]
    // The revoke for the next owner overtakes the grants.
    h.receive({ type: 'revoke', term: 5, op: 3, file: WHOLE, page: 0, count: 1, after: faults.at(-1)!.req })
    for (const fault of faults) h.grant(fault, { owner: true })
    expect(pin.state).toBe('done')
    expect(h.nothingSent).toBe(true)
    pin.release()
    h.acknowledge(h.take('writeback'))
    expect(h.take('ownerAck').op).toBe(3)
  })

  it('an incomplete pin gives way to a discard in its range, and starts again after the discard', () => {
    const h = new CoreHarness().connect()
    h.have(5, 'write')
    const pin = request(h, 5, 2)
    // The leader delays this fault until after the discard.
    const held = h.take('fault')
    expect(held).toMatchObject({ page: 6 })
    h.receive({ type: 'discard', term: 5, op: 9, file: FILE, first: 5, end: 9, size: 10 * PAGE, discards: 1 })
    h.take('discardAck')
    expect([pin.state, h.nothingSent]).toEqual(['waiting', true])
    h.receive({ type: 'discarded', term: 5, op: 9, file: FILE, committed: true })
    const again = h.take('fault')
    expect(again).toMatchObject({ page: 5 })
    h.grant(held, { discard: 9, value: 6 })
    h.grant(again, { discard: 9, value: 5 })
    expect(pin.state).toBe('done')
    expect(pin.pages.map(({ frame }) => frame!.bytes[0])).toEqual([5, 6])
  })

  it('an incomplete pin delays a demotion of one of its pages, for a limited time that doubles each time', () => {
    const h = new CoreHarness().connect()
    h.have(5, 'read')
    const pin = request(h, 5, 2, 'read')
    const rest = h.take('fault')
    for (const [op, patienceMs] of [
      [1, 50],
      [2, 100]
    ] as const) {
      h.order('invalidate', 5, { op })
      expect(h.core.nextDeadline).toBe(h.now + patienceMs)
      h.advance(patienceMs - 1)
      expect(h.nothingSent).toBe(true)
      h.advance(1)
      expect(h.take('invalidateAck').op).toBe(op)
      h.grant(h.take('fault'))
    }
    expect(h.core.nextDeadline).toBe(Infinity)
    h.grant(rest)
    expect(pin.state).toBe('done')
    // The program has the pin now, and no demotion interrupts it.
    h.order('invalidate', 5, { op: 3 })
    h.advance(10_000)
    expect(h.nothingSent).toBe(true)
    pin.release()
    expect(h.take('invalidateAck').op).toBe(3)
  })

  it('an incomplete pin gives way to an eviction, and starts again after the eviction', () => {
    const h = new CoreHarness().connect()
    h.have(5, 'read')
    const pin = request(h, 5, 2, 'read')
    h.take('fault')
    const { table } = h.core
    const pages = [h.page(5)!, h.page(6)!] as Page[]
    let isUnpinned = false
    for (const page of pages) table.ranges.beginEviction(page)
    table.whenUnpinned(
      table.space(FILE)!,
      pages,
      () => (isUnpinned = true),
      () => {}
    )
    expect(isUnpinned).toBe(true)
    for (const page of pages) table.ranges.evictIfClean(page)
    for (const page of pages) table.ranges.endEviction(page)
    h.drain()
    h.grant(h.take('fault'))
    h.grant(h.take('fault'))
    expect(pin.state).toBe('done')
  })

  it('an incomplete pin makes an overlapping pin wait, because only live pins cause a PinConflictError', () => {
    const h = new CoreHarness().connect()
    const place = (page: number): void => h.have(page, 'read')
    // Page 2 has a frame far from page 0, so pages 0 to 2 must move.
    for (const page of [2, 9, 0]) place(page)
    const pending = request(h, 0, 2, 'read')
    const overlapping = request(h, 1, 2, 'read')
    expect(overlapping.state).toBe('waiting')
    pending.withdraw()
    while (!h.nothingSent) h.grant(h.take('fault'))
    expect(overlapping.state).toBe('done')
    overlapping.release()

    const live = request(h, 4, 2, 'read')
    h.have(6, 'read')
    h.have(7, 'read')
    const late = request(h, 5, 2, 'read')
    while (!h.nothingSent) h.grant(h.take('fault'))
    expect(live.state).toBe('done')
    // The pin ends in either case: its frames are contiguous with those of the live pin by chance, or they are not.
    expect(late.state === 'done' || late.error instanceof PinConflictError).toBe(true)
  })

  it('an incomplete pin fails together with the pin that it waits for when the session is lost or the file removed', () => {
    for (const end of ['lose', 'removeFile', 'refuseWaiters'] as const) {
      const h = new CoreHarness().connect()
      for (const page of [2, 9, 0]) h.have(page, 'read')
      const pins = [request(h, 0, 2, 'read'), request(h, 1, 2, 'read')]
      h.sent = []
      if (end === 'lose') h.lose()
      else h.core[end](FILE, new Error('the session is gone'))
      h.drain()
      expect(pins.map(({ error }) => error?.message)).toEqual(Array(2).fill('the session is gone'))
      expect(h.nothingSent).toBe(true)
    }
  })
})
