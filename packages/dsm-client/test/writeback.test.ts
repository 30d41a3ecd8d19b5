/** Flushes and writebacks, one message at a time. */
import { MAX_BULK_PAYLOAD_BYTES, MAX_WRITEBACK_PAGES, NoSpaceError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { CoreHarness, PAGE } from './support/core.js'

function dirty(count: number, terms: Parameters<CoreHarness['connect']>[0] = {}): CoreHarness {
  const h = new CoreHarness().connect(terms)
  for (let page = 0; page < count; page++) h.have(page, 'write', { write: page + 1 })
  return h
}

describe('a flush', () => {
  it('a flush writes the dirty pages of its range, and no others', () => {
    const h = dirty(4)
    h.have(9, 'read')
    const flush = h.flush(1, 9)
    expect(flush.count).toBe(3)
    const writeback = h.take('writeback')
    expect(writeback.pages.map(({ page, bytes }) => [page, bytes[0]])).toEqual([
      [1, 2],
      [2, 3],
      [3, 4]
    ])
    h.acknowledge(writeback)
    expect(flush.done).toBe(3)
    expect(h.flush(1, 9).count).toBe(0)
    expect(h.flush(0, Number.MAX_SAFE_INTEGER).count).toBe(1)
  })

  it('a flush of a file that is not open writes nothing', () => {
    const h = dirty(1)
    expect(
      h.core.flush(
        8,
        0,
        9,
        () => {},
        () => {}
      )
    ).toBe(0)
  })

  it('a flush joins a writeback in flight if the page has not changed since', () => {
    const h = dirty(1)
    const [first, second] = [h.flush(0), h.flush(0)]
    const writeback = h.take('writeback')
    expect(h.nothingSent).toBe(true)
    h.acknowledge(writeback)
    expect([first.done, second.done]).toEqual([1, 1])
  })

  it('a flush writes a page again that changed while its writeback was in flight', () => {
    const h = dirty(1)
    const first = h.flush(0)
    const writeback = h.take('writeback')
    h.access(0, 'write', { write: 50 })
    const second = h.flush(0)
    const again = h.take('writeback')
    expect(writeback.pages[0]!.bytes[0]).toBe(1)
    expect(again.pages[0]!.bytes[0]).toBe(50)
    h.acknowledge(writeback)
    expect([first.done, second.done]).toEqual([1, 0])
    h.acknowledge(again)
    expect([first.done, second.done]).toEqual([1, 1])
  })

  it('a flush is also completed by a later writeback, in any order of the answers', () => {
    const h = dirty(1)
    const first = h.flush(0)
    h.take('writeback')
    h.access(0, 'write')
    const second = h.flush(0)
    h.acknowledge(h.take('writeback'))
    expect([first.done, second.done]).toEqual([1, 1])
  })

  it('a flush is completed by the acknowledgment of bytes that left with a revoke', () => {
    const h = dirty(1)
    h.order('revoke', 0)
    const { dirty: bytes } = h.takeDirty()
    const flush = h.flush(0)
    h.acknowledge({ req: 0, pages: [bytes] })
    expect(flush.done).toBe(1)
  })

  it('a flush fails if the leader refuses its bytes, and the page stays dirty and writable', () => {
    const h = dirty(2)
    const flush = h.flush(0, 1)
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(flush.errors.map((error) => error.name)).toEqual(['NoSpaceError', 'NoSpaceError'])
    expect(h.page(0)).toMatchObject({ access: 'modified', dirty: true, writing: false })
    h.access(0, 'write', { write: 60 })
    const again = h.flush(0, 1)
    const writeback = h.take('writeback')
    expect(writeback.pages[0]!.bytes[0]).toBe(60)
    h.acknowledge(writeback)
    expect(again.done).toBe(2)
  })

  it('a flush does not fail by the refusal of another writeback, or of an acknowledged one', () => {
    const h = dirty(1)
    const flush = h.flush(0)
    const writeback = h.take('writeback')
    const error = errorToWire(new NoSpaceError('peer'))
    h.receive({ type: 'writebackFailed', term: 5, req: writeback.req + 1, error })
    expect(flush.errors).toEqual([])
    h.acknowledge(writeback)
    h.receive({ type: 'writebackFailed', term: 5, req: writeback.req, error })
    expect([flush.done, flush.errors]).toEqual([1, []])
  })

  it('a flush of newer bytes does not fail by the refusal of an older writeback, and waits for its own', () => {
    const h = dirty(1)
    const first = h.flush(0)
    const older = h.take('writeback')
    h.access(0, 'write', { write: 50 })
    const second = h.flush(0)
    const newer = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req: older.req, error: errorToWire(new NoSpaceError('peer')) })
    expect([first.errors.length, second.errors.length]).toEqual([1, 0])
    // A third flush joins the newer writeback in flight.
    const third = h.flush(0)
    expect(h.nothingSent).toBe(true)
    h.acknowledge(newer)
    expect([first.done, second.done, third.done]).toEqual([0, 1, 1])
    expect(h.page(0)).toMatchObject({ dirty: false, writing: false })
  })

  it('a flush of an invalidated page is complete, because its dirty bytes are committed', () => {
    const h = dirty(1)
    h.order('downgrade', 0)
    h.take('ownerAckDirty')
    const flush = h.flush(0)
    h.order('invalidate', 0)
    h.take('invalidateAck')
    expect(flush.done).toBe(1)
  })
})

describe('a writeback', () => {
  it('a writeback carries a quarter of the pages that wait, but fills a small frame and never exceeds a large one', () => {
    const h = dirty(100)
    h.flush(0, 99)
    expect(h.sent.map(({ message }) => (message.type === 'writeback' ? message.pages.length : 0))).toEqual([
      25, 18, 16, 16, 16, 9
    ])
    const large = new CoreHarness({ cacheBytes: 8 * 1024 * 1024 }).connect({ creditBytes: 8 * 1024 * 1024 })
    for (let page = 0; page < 300; page++) large.have(page, 'write', { write: 1 })
    large.flush(0, 299)
    expect(large.take('writeback').pages).toHaveLength(64)
    expect(MAX_WRITEBACK_PAGES * PAGE).toBe(MAX_BULK_PAYLOAD_BYTES)
  })

  it('a writeback never exceeds the credit of the leader together with the unacknowledged ones', () => {
    const h = dirty(10, { creditBytes: 3 * PAGE })
    const flush = h.flush(0, 9)
    const first = h.take('writeback')
    expect(first.pages).toHaveLength(3)
    expect(h.nothingSent).toBe(true)
    h.acknowledge(first)
    expect(h.take('writeback').pages).toHaveLength(3)
    expect(h.nothingSent).toBe(true)
    expect(flush.done).toBe(3)
  })

  it('a writeback returns its credit when it is refused', () => {
    const h = dirty(4, { creditBytes: 2 * PAGE })
    h.flush(0, 3)
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(h.take('writeback').pages.map(({ page }) => page)).toEqual([2, 3])
  })

  it('a writeback carries one page at a time if a page is larger than the credit', () => {
    const h = dirty(2, { creditBytes: PAGE - 1 })
    const flush = h.flush(0, 1)
    const first = h.take('writeback')
    expect(first.pages).toHaveLength(1)
    expect(h.nothingSent).toBe(true)
    h.acknowledge(first)
    h.acknowledge(h.take('writeback'))
    expect(flush.done).toBe(2)
  })

  it('a writeback carries the bytes of the moment when it leaves', () => {
    const h = dirty(2, { creditBytes: PAGE })
    h.flush(0, 1)
    const first = h.take('writeback')
    h.access(0, 'write', { write: 70 })
    h.access(1, 'write', { write: 71 })
    expect(first.pages[0]!.bytes[0]).toBe(1)
    h.acknowledge(first)
    expect(h.take('writeback').pages[0]!.bytes[0]).toBe(71)
  })

  it('a writeback that waits for credit when the connection breaks leaves on the next connection', () => {
    const h = dirty(3, { creditBytes: PAGE })
    const flush = h.flush(0, 2)
    h.take('writeback')
    h.disconnect()
    h.connect()
    const writeback = h.take('writeback')
    expect(writeback.pages.map(({ page }) => page)).toEqual([1, 2, 0])
    h.acknowledge(writeback)
    expect(flush.done).toBe(3)
  })

  it('a writeback starts without a flush when more than half of the frames are dirty', () => {
    const h = new CoreHarness({ cacheBytes: 65_536 }).connect()
    for (let page = 0; page < 8; page++) h.have(page, 'write')
    expect(h.nothingSent).toBe(true)
    h.have(8, 'write')
    expect(h.take('writeback').pages.map(({ page }) => page)).toContain(0)
  })

  it('a writeback gives way to revoked bytes, which also wait for credit', () => {
    const h = dirty(3, { creditBytes: PAGE })
    h.flush(0, 2)
    const first = h.take('writeback')
    h.order('revoke', 1)
    expect(h.nothingSent).toBe(true)
    h.acknowledge(first)
    const { dirty: bytes } = h.takeDirty()
    expect(bytes.page).toBe(1)
    expect(h.nothingSent).toBe(true)
    h.acknowledge({ req: 0, pages: [bytes] })
    expect(h.take('writeback').pages.map((page) => page.page)).toEqual([2])
  })

  it('a refused writeback also returns its credit to revoked bytes', () => {
    const h = dirty(2, { creditBytes: PAGE })
    h.flush(0)
    const { req } = h.take('writeback')
    h.order('revoke', 1)
    expect(h.nothingSent).toBe(true)
    h.receive({ type: 'writebackFailed', term: 5, req, error: errorToWire(new NoSpaceError('peer')) })
    expect(h.takeDirty().dirty.page).toBe(1)
  })

  it('the client sends no writeback of a page that is clean by now', () => {
    const h = dirty(2, { creditBytes: PAGE })
    h.flush(0, 1)
    const first = h.take('writeback')
    h.order('revoke', 1)
    h.acknowledge(first)
    const { dirty: bytes } = h.takeDirty()
    h.acknowledge({ req: 0, pages: [bytes] })
    expect(h.nothingSent).toBe(true)
    expect(h.isWanted(1)).toBe(false)
  })
})
