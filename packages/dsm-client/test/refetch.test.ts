/** Pages that the program reads after each change (docs/coherence.md, Read-ahead). */
import { describe, expect, it } from 'vitest'
import { CoreHarness, PAGE } from './support/core.js'

/** The leader takes the page back, and the program has read it before. */
function change(h: CoreHarness, page = 0): void {
  h.order('invalidate', page)
  h.take('invalidateAck')
}

/** The program reads the page, which is not here. */
function readAgain(h: CoreHarness, version: number): void {
  const { state } = h.access(0, 'read')
  expect(state).toBe('waiting')
  h.grant(h.take('fault'), { version })
}

/** The program has read a version, and another client has changed it, as often as it takes. */
function consuming(): CoreHarness {
  const h = new CoreHarness().connect()
  h.have(0, 'read')
  change(h)
  expect(h.nothingSent).toBe(true)
  readAgain(h, 11)
  change(h)
  return h
}

describe('a page that the program reads after each change', () => {
  it('a page that the program reads after each change is asked for when its copy goes', () => {
    const h = consuming()
    const fault = h.take('fault')
    expect(fault).toMatchObject({ page: 0, access: 'read', have: 0 })
    h.grant(fault, { version: 12, value: 7 })
    expect(h.peek(0)).toBe(7)
    change(h)
    h.grant(h.take('fault'), { version: 13, value: 8 })
    expect(h.peek(0)).toBe(8)
    expect(h.core.counters).toMatchObject({ readFaults: 4, readAheads: 2, readAheadsWasted: 0 })
  })

  it('a read that comes before the next version waits for the fault that is under way', () => {
    const h = consuming()
    const read = h.access(0, 'read')
    const fault = h.take('fault')
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { version: 12 })
    expect(read.state).toBe('ran')
  })

  it('a page whose new version goes unread is no longer asked for, until the program reads two versions again', () => {
    const h = consuming()
    h.grant(h.take('fault'), { version: 12 })
    change(h)
    expect(h.nothingSent).toBe(true)
    expect(h.core.counters).toMatchObject({ readAheads: 1, readAheadsWasted: 1 })
    readAgain(h, 13)
    change(h)
    expect(h.nothingSent).toBe(true)
    readAgain(h, 14)
    change(h)
    expect(h.take('fault').access).toBe('read')
  })

  it('a page whose copy is asked back before its grant has come is not asked for a second time', () => {
    const h = consuming()
    const fault = h.take('fault')
    h.order('invalidate', 0, { op: 2, after: 0 })
    h.take('invalidateAck')
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { version: 12 })
    expect(h.page(0)).toMatchObject({ access: 'shared' })
  })

  it('a page is not asked for while another access waits for a frame', () => {
    const h = new CoreHarness({ cacheBytes: 2 * PAGE }).connect()
    h.have(0, 'read')
    change(h)
    readAgain(h, 11)
    // One frame is pinned, and the other is dirty, so page 1 waits.
    const pin = h.access(0, 'read', { pin: true })
    h.have(2, 'write', { write: 1 })
    const other = h.access(1, 'read')
    h.take('writeback')
    h.order('invalidate', 0)
    pin.unpin()
    h.take('invalidateAck')
    expect(h.take('fault').page).toBe(1)
    expect(other.state).toBe('waiting')
    expect(h.core.counters.readAheads).toBe(0)
  })

  it('pages that wait for their writers leave most of the cache, and most faults, to other accesses', () => {
    // An eighth of the cache is two pages.
    const h = new CoreHarness({ cacheBytes: 16 * PAGE }).connect()
    const pages = [0, 1, 2, 3]
    const round = (version: number) => {
      for (const page of pages) {
        h.access(page, 'read')
        if (!h.nothingSent) h.grant(h.take('fault'), { version })
      }
      for (const page of pages) h.order('invalidate', page, { op: version * 10 + page })
      const asked = h.sent.flatMap(({ message }) => (message.type === 'fault' ? [message] : []))
      h.sent = []
      return asked
    }
    expect(round(11)).toEqual([])
    const asked = round(12)
    expect(asked.map(({ page }) => page)).toEqual([0, 1])
    // They have arrived, so others may be asked for.
    for (const fault of asked) h.grant(fault, { version: 13 })
    expect(round(13)).toHaveLength(2)
  })

  it('the client remembers the pages that changed last', () => {
    const h = new CoreHarness().connect()
    const readAndChange = (page: number): void => {
      h.have(page, 'read')
      h.order('invalidate', page)
      h.take('invalidateAck')
    }
    readAndChange(0)
    for (let page = 1; page <= 4096; page++) readAndChange(page)
    readAndChange(0)
    expect(h.nothingSent).toBe(true)
    readAndChange(4096)
    expect(h.take('fault').page).toBe(4096)
  })
})
