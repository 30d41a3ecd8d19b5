/** Diffs of pages that this client owns (docs/coherence.md, Diffs), one message at a time. */
import { NoSpaceError, errorToWire, type PageWrite } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { Twins } from '../src/core/twins.js'
import type { Page } from '../src/core/page.js'
import { CoreHarness, PAGE } from './support/core.js'

/** Writes one byte of page 0. */
function write(h: CoreHarness, value: number, offset = 8, page = 0): void {
  const { bytes } = h.access(page, 'write')
  bytes![offset] = value
}

function flushed(h: CoreHarness): PageWrite {
  h.flush(0)
  const writeback = h.take('writeback')
  h.acknowledge(writeback)
  return writeback.pages[0]!
}

const one = (offset: number, value: number) => ({ ranges: [{ offset, length: 1 }], bytes: Uint8Array.of(value) })

/** Sixteen twins fit. */
const connected = () => new CoreHarness({ cacheBytes: 16 * 16 * PAGE }).connect()

describe('twins', () => {
  it('twins go with the pages that are given away, so that they leave their room to others', () => {
    const h = connected()
    const remembered = () => (h.core as unknown as { twins: { bytes: number } }).twins.bytes
    h.have(0, 'write')
    write(h, 1)
    h.order('revoke', 0)
    const { op, dirty } = h.takeDirty()
    expect(remembered()).toBe(PAGE)
    h.acknowledge({ req: 0, pages: [dirty] })
    expect(op).toBe(1)
    expect(remembered()).toBe(0)
    h.have(1, 'write')
    write(h, 1, 8, 1)
    h.flush(1)
    h.acknowledge(h.take('writeback'))
    h.order('revoke', 1, { op: 2 })
    h.take('ownerAck')
    expect(remembered()).toBe(0)
  })
})

describe('a writeback of few changes', () => {
  it('a writeback of few changes has the changed bytes alone, from the first write on', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    expect(flushed(h)).toMatchObject({ seq: 1, ...one(8, 1) })
    write(h, 2, 100)
    expect(flushed(h)).toMatchObject({ seq: 2, ...one(100, 2) })
    expect(h.core.counters).toMatchObject({ writebacks: 2, diffs: 2, bytesOut: 2 })
  })

  it('a writeback of few changes has no bytes if all have their old values again', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    write(h, 0)
    expect(flushed(h)).toMatchObject({ seq: 1, ranges: [], bytes: new Uint8Array(0) })
  })

  it('a writeback of few changes is whole while the one before is under way, and then again has few bytes', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.flush(0)
    const first = h.take('writeback')
    // Back to the value that the cluster has: a diff against that would be empty, and the change on its way stay.
    write(h, 0)
    h.flush(0)
    const second = h.take('writeback')
    expect(second.pages[0]).toMatchObject({ seq: 2, bytes: new Uint8Array(PAGE) })
    expect(second.pages[0]!.ranges).toBeUndefined()
    h.acknowledge(first)
    write(h, 3)
    h.flush(0)
    const third = h.take('writeback')
    expect(third.pages[0]!.ranges).toBeUndefined()
    h.acknowledge(second)
    h.acknowledge(third)
    write(h, 4)
    expect(flushed(h)).toMatchObject({ seq: 4, ...one(8, 4) })
  })

  it('a writeback of few changes is whole after a refusal, and after a broken connection', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.flush(0)
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(flushed(h).ranges).toBeUndefined()
    write(h, 2)
    h.flush(0)
    h.take('writeback')
    h.disconnect()
    h.connect()
    const again = h.take('writeback')
    expect(again.pages[0]!.ranges).toBeUndefined()
    h.acknowledge(again)
    write(h, 3)
    expect(flushed(h).ranges).toHaveLength(1)
  })

  it('a writeback of few changes is whole if the peers lack its base, and its flush waits for that', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    const flush = h.flush(0)
    h.acknowledge(h.take('writeback'), { result: 'base' })
    expect(flush.done).toBe(0)
    const whole = h.take('writeback')
    expect(whole.pages[0]).toMatchObject({ seq: 2 })
    expect(whole.pages[0]!.ranges).toBeUndefined()
    expect(whole.pages[0]!.bytes[8]).toBe(1)
    h.acknowledge(whole)
    expect(flush.done).toBe(1)
  })

  it('a writeback of few changes has those under a pin as of the time when it leaves', () => {
    const h = connected()
    h.have(0, 'write')
    const pin = h.access(0, 'write', { pin: true })
    pin.bytes![8] = 1
    expect(flushed(h)).toMatchObject(one(8, 1))
    pin.bytes![9] = 2
    expect(flushed(h)).toMatchObject(one(9, 2))
    pin.bytes![10] = 3
    pin.unpin()
    expect(flushed(h)).toMatchObject(one(10, 3))
  })
})

describe('the answer to an order', () => {
  it.each(['revoke', 'downgrade'] as const)('the answer to a %s has the changed bytes alone', (type) => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.order(type, 0)
    const { dirty } = h.takeDirty()
    expect(dirty).toMatchObject({ seq: 1, ...one(8, 1) })
    h.acknowledge({ req: 0, pages: [dirty] })
    expect(h.core.counters).toMatchObject({ writebacks: 1, diffs: 1, bytesOut: 1 })
  })

  it('the answer to an order is whole while a writeback is under way', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.flush(0)
    h.take('writeback')
    write(h, 2)
    h.order('revoke', 0)
    const { dirty } = h.takeDirty()
    expect(dirty.seq).toBe(2)
    expect(dirty.ranges).toBeUndefined()
  })

  it.each(['revoke', 'downgrade'] as const)('the answer to a %s is whole if the leader lacks the base', (type) => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.order(type, 0)
    const { dirty } = h.takeDirty()
    const flush = h.flush(0)
    h.acknowledge({ req: 0, pages: [dirty] }, { result: 'base' })
    expect(flush.done).toBe(0)
    expect(h.page(0)).toMatchObject({ dirty: true })
    h.pick('writeback')
    h.order(type, 0)
    const again = h.takeDirty().dirty
    expect(again.ranges).toBeUndefined()
    expect(again.bytes[8]).toBe(1)
    h.acknowledge({ req: 0, pages: [again] })
    expect(flush.done).toBe(1)
  })

  it('the answer to an order is whole on the next connection', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.order('revoke', 0)
    h.takeDirty()
    h.disconnect()
    h.connect()
    expect(h.pick('writeback').pages[0]!.ranges).toBeUndefined()
    h.order('revoke', 0)
    expect(h.takeDirty().dirty.ranges).toBeUndefined()
  })

  it('the answer to a downgrade is the base of the next change', () => {
    const h = connected()
    h.have(0, 'write')
    write(h, 1)
    h.order('downgrade', 0)
    h.acknowledge({ req: 0, pages: [h.takeDirty().dirty] })
    const { page } = h.access(0, 'write')
    expect(page).toBeUndefined()
    h.grant(h.take('fault'), { version: 11, epoch: 1, seq: 1 })
    write(h, 2, 9)
    h.order('revoke', 0)
    expect(h.takeDirty().dirty).toMatchObject({ seq: 2, ...one(9, 2) })
  })
})

describe('many small changes', () => {
  it('many small changes share messages, also on a line that has carried little', () => {
    const h = connected()
    for (let page = 0; page < 16; page++) {
      h.have(page, 'write')
      write(h, 1, 8, page)
    }
    // As on a new connection.
    h.core.limitBulk(4224, 0)
    h.flush(0, 15)
    expect(h.take('writeback').pages).toHaveLength(16)
  })

  it('many small changes count with the sizes of their pages against the credit', () => {
    const h = new CoreHarness({ cacheBytes: 16 * 16 * PAGE }).connect({ creditBytes: 3 * PAGE })
    for (let page = 0; page < 5; page++) {
      h.have(page, 'write')
      write(h, 1, 8, page)
    }
    h.flush(0, 4)
    const first = h.take('writeback')
    expect(first.pages).toHaveLength(3)
    expect(h.nothingSent).toBe(true)
    h.acknowledge(first)
    expect(h.take('writeback').pages).toHaveLength(2)
  })

  it('many small changes leave no faster than the line carries them', () => {
    const count = 100
    const h = new CoreHarness({ cacheBytes: 16 * 128 * PAGE }).connect()
    for (let page = 0; page < count; page++) {
      h.have(page, 'write')
      write(h, 1, 8, page)
    }
    h.core.limitBulk(1024, 0)
    h.flush(0, count - 1)
    const pages = h.sent.reduce(
      (sum, { message }) => sum + (message.type === 'writeback' ? message.pages.length : 0),
      0
    )
    expect(pages).toBeGreaterThan(16)
    // Twice the line, at some 40 bytes for each page.
    expect(pages).toBeLessThan(80)
  })
})

describe('twins', () => {
  const page = (): Page =>
    ({ epoch: 1, seq: 0, pageSize: PAGE, frame: { bytes: new Uint8Array(PAGE) } }) as unknown as Page

  it('twins take no more than their bytes, and the oldest goes first', () => {
    const twins = new Twins(2 * PAGE)
    const [a, b, c] = [page(), page(), page()] as const
    for (const each of [a, b, c]) twins.beforeWrite(each)
    expect([a, b, c].map((each) => twins.diff(each, new Uint8Array(PAGE)) !== undefined)).toEqual([false, true, true])
  })

  it('twins that are bases stay when the page of another twin, or of none, leaves', () => {
    const twins = new Twins(2 * PAGE)
    const [a, b, c] = [page(), page(), page()] as const
    for (const each of [a, b]) twins.beforeWrite(each)
    c.seq = 1
    twins.sent(c, new Uint8Array(PAGE))
    expect([a, b].every((each) => twins.hasBase(each))).toBe(true)
    twins.forget(a)
    twins.sent(c, new Uint8Array(PAGE))
    twins.stored(c, 1, 1)
    expect([a, b, c].map((each) => twins.hasBase(each))).toEqual([false, true, true])
  })

  it('twins are not made of pages that are larger than all of them together', () => {
    const twins = new Twins(PAGE - 1)
    const a = page()
    twins.beforeWrite(a)
    expect(twins.hasBase(a)).toBe(false)
  })

  it('twins of another epoch or sequence are no base', () => {
    const twins = new Twins(2 * PAGE)
    const a = page()
    twins.beforeWrite(a)
    a.seq = 1
    expect(twins.diff(a, new Uint8Array(PAGE))).toBeUndefined()
    twins.sent(a, new Uint8Array(PAGE))
    twins.stored(a, 2, 1)
    expect(twins.diff(a, new Uint8Array(PAGE))).toBeUndefined()
    twins.stored(a, 1, 1)
    expect(twins.diff(a, new Uint8Array(PAGE))).toBeDefined()
    a.epoch = 2
    expect(twins.diff(a, new Uint8Array(PAGE))).toBeUndefined()
  })
})
