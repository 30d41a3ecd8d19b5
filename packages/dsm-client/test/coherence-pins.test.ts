/** Pins of single pages and the orders that they delay, one message at a time. */
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE, PAGE, SMALL_CACHE, FRAMES } from './support/core.js'

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
    expect(h.takeDirty().dirty.bytes[0]).toBe(77)
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
    expect(h.takeDirty().dirty.bytes[0]).toBe(8)
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
