/** Pages that the client gets before an access needs them, one message at a time. */
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE, FRAMES, SMALL_CACHE } from './support/core.js'

interface Heard {
  readonly observer: { used(): void; wasted(): void }
  readonly events: string[]
}

function hear(): Heard {
  const events: string[] = []
  return { events, observer: { used: () => events.push('used'), wasted: () => events.push('wasted') } }
}

function readAhead(h: CoreHarness, page: number): Heard {
  const heard = hear()
  h.core.table.readAhead(h.core.table.space(FILE)!, page, heard.observer)
  h.drain()
  return heard
}

function prefetch(h: CoreHarness, page: number, access: 'read' | 'write' = 'read'): () => void {
  const withdraw = h.core.table.prefetch(h.core.table.space(FILE)!, page, access, () => {})
  h.drain()
  return withdraw
}

describe('a page that is read ahead', () => {
  it('a page that is read ahead tells whether the program used it', () => {
    const h = new CoreHarness().connect()
    const used = readAhead(h, 1)
    h.grant(h.take('fault'))
    const wasted = readAhead(h, 2)
    h.grant(h.take('fault'))
    h.access(1, 'read')
    h.access(1, 'read')
    for (const page of [1, 2]) h.order('invalidate', page, { op: page })
    expect([used.events, wasted.events]).toEqual([['used'], ['wasted']])
    expect(h.core.counters).toMatchObject({ readAheads: 2, readAheadsWasted: 1 })
  })

  it('a page that is read ahead counts as used if an access waits for it already', () => {
    const h = new CoreHarness().connect()
    const heard = readAhead(h, 1)
    const access = h.access(1, 'read')
    h.grant(h.take('fault'))
    expect([access.state, heard.events]).toEqual(['ran', ['used']])
  })

  it('a page that is read ahead is asked for once, and not at all if it is here or on its way', () => {
    const h = new CoreHarness().connect()
    h.have(1, 'read')
    h.access(2, 'read')
    h.take('fault')
    for (const page of [1, 2]) readAhead(h, page)
    expect(h.nothingSent).toBe(true)
  })

  it('a page that is read ahead does not bring a whole file back that another client wants', () => {
    const h = new CoreHarness().connect()
    h.core.addFile({ file: 11, path: '/w', pageSize: 4096, unit: 'file' })
    h.access(0, 'read', { file: 11 })
    const first = h.take('fault')
    h.receive({ type: 'revoke', term: h.term, op: 1, file: 11, page: 0, count: 1, after: 0 })
    h.core.table.readAhead(h.core.table.space(11)!, 1, hear().observer)
    h.drain()
    h.grant(first)
    expect(h.take('ownerAck')).toMatchObject({ file: 11 })
    expect(h.nothingSent).toBe(true)
  })

  it('a page that is read ahead waits neither for other faults nor for a frame, and leaves nothing behind', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect({ maxFaults: FRAMES + 1 })
    for (let page = 0; page < FRAMES; page++) h.access(page, 'write')
    const before = h.core.table.queuedFaults
    readAhead(h, 30)
    expect([h.core.table.queuedFaults, h.core.table.page(FILE, 30)]).toEqual([before, undefined])
    const offline = new CoreHarness()
    readAhead(offline, 30)
    expect(offline.core.table.page(FILE, 30)).toBeUndefined()
  })
})

describe('a prefetch', () => {
  it('a prefetch for writing does not make the page dirty', () => {
    const h = new CoreHarness().connect()
    prefetch(h, 1, 'write')
    h.grant(h.take('fault'))
    expect(h.page(1)).toMatchObject({ access: 'modified', dirty: false })
  })

  it('a prefetch waits behind the faults of accesses, until an access needs its page', () => {
    const h = new CoreHarness().connect({ maxFaults: 1 })
    h.access(0, 'read')
    const first = h.take('fault')
    for (const page of [1, 2, 3]) prefetch(h, page)
    h.access(9, 'read')
    h.access(2, 'read')
    const order: number[] = []
    for (let fault = first; ; fault = h.take('fault')) {
      order.push(fault.page)
      h.grant(fault)
      if (h.nothingSent) break
    }
    expect(order).toEqual([0, 9, 2, 1, 3])
  })

  it('a prefetch that is withdrawn leaves nothing behind', () => {
    const h = new CoreHarness().connect({ maxFaults: 1 })
    h.access(0, 'read')
    const first = h.take('fault')
    prefetch(h, 1)()
    h.grant(first)
    expect([h.nothingSent, h.core.table.page(FILE, 1)]).toEqual([true, undefined])
  })
})
