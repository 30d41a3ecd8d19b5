/** Runs of pages at a client: a run is only a batch of pages. */
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE, PAGE } from './support/core.js'

function content(version: number, value: number) {
  const bytes = new Uint8Array(PAGE)
  bytes[0] = value
  return { version, bytes }
}

/** A client that reads three pages, and has sent faults 1 to 3. */
function withFaults() {
  const h = new CoreHarness().connect()
  const waiters = [0, 1, 2].map((page) => h.access(page, 'read'))
  const faults = [h.take('fault'), h.take('fault'), h.take('fault')]
  return { h, waiters, faults }
}

const facts = { type: 'grant', file: FILE, access: 'read', owner: false, epoch: 0, seq: 0, discard: 0 } as const

describe('a run of grants', () => {
  it('a run of grants answers each fault with its page', () => {
    const { h, waiters } = withFaults()
    const pages = [content(10, 1), content(11, 2), content(12, 3)]
    h.receive({ ...facts, term: h.term, req: 1, page: 0, pages })
    expect(waiters.map(({ state, bytes }) => [state, bytes?.[0]])).toEqual([
      ['ran', 1],
      ['ran', 2],
      ['ran', 3]
    ])
    expect([0, 1, 2].map((page) => h.page(page)!.version)).toEqual([10, 11, 12])
  })

  it('a part of a run leaves the other faults outstanding', () => {
    const { h, waiters } = withFaults()
    h.receive({ ...facts, term: h.term, req: 2, page: 1, pages: [content(11, 2)] })
    expect(waiters.map(({ state }) => state)).toEqual(['waiting', 'ran', 'waiting'])
    h.receive({ ...facts, term: h.term, req: 1, page: 0, pages: [content(10, 1)] })
    h.receive({ ...facts, term: h.term, req: 3, page: 2, pages: [content(12, 3)] })
    expect(waiters.map(({ state }) => state)).toEqual(['ran', 'ran', 'ran'])
  })

  it('a page that a discard has taken does not void the others of its run', () => {
    const { h, waiters } = withFaults()
    const discard = { type: 'discard', term: h.term, op: 8, file: FILE, first: 1, end: 2, size: 3 * PAGE } as const
    h.receive({ ...discard, discards: 1 })
    h.receive({ ...facts, term: h.term, req: 1, page: 0, pages: [content(10, 1), content(11, 2), content(12, 3)] })
    expect(waiters.map(({ state }) => state)).toEqual(['ran', 'waiting', 'ran'])
  })

  it('a page whose fault was dropped does not disturb the others of its run', () => {
    const { h, waiters } = withFaults()
    waiters[1]!.withdraw()
    h.receive({ ...facts, term: h.term, req: 1, page: 0, pages: [content(10, 1), content(11, 2), content(12, 3)] })
    expect(waiters.map(({ state }) => state)).toEqual(['ran', 'waiting', 'ran'])
    expect(h.peek(0)).toBe(1)
    expect(h.peek(2)).toBe(3)
  })
})

describe('a run of orders', () => {
  it('a run of orders that follows a run of faults waits for the grant of each page', () => {
    const { h } = withFaults()
    h.receive({ type: 'invalidate', term: h.term, op: 40, file: FILE, page: 0, count: 3, after: 1 })
    expect(h.nothingSent).toBe(true)
    h.receive({ ...facts, term: h.term, req: 1, page: 0, pages: [content(10, 1)] })
    expect(h.take('invalidateAck')).toMatchObject({ op: 40, page: 0 })
    expect(h.nothingSent).toBe(true)
    h.receive({ ...facts, term: h.term, req: 2, page: 1, pages: [content(11, 2), content(12, 3)] })
    expect(h.take('invalidateAck')).toMatchObject({ op: 41, page: 1 })
    expect(h.take('invalidateAck')).toMatchObject({ op: 42, page: 2 })
  })

  it('a run of orders that follows nothing is obeyed at once, page by page', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 7 })
    h.have(1, 'read')
    h.advance(100)
    h.receive({ type: 'downgrade', term: h.term, op: 40, file: FILE, page: 0, count: 3, after: 0 })
    expect(h.takeDirty()).toMatchObject({ op: 40, dirty: { page: 0 } })
    expect(h.take('ownerAck')).toMatchObject({ op: 41, page: 1, held: true })
    expect(h.take('ownerAck')).toMatchObject({ op: 42, page: 2, held: false })
  })
})
