/** Messages that overtake each other on the two lanes, one message at a time. */
import { describe, expect, it } from 'vitest'
import type { Page } from '../src/core/page.js'
import { CoreHarness, FILE } from './support/core.js'

describe('a writeback acknowledgment that overtakes an older grant', () => {
  function overtaken() {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.flush(0)
    const writeback = h.take('writeback')
    // The leader revokes the page while the writeback is in flight. It makes its grant before it applies the writeback.
    h.order('revoke', 0)
    h.take('ownerAckDirty')
    h.disconnect()
    h.connect()
    h.take('writeback')
    const reader = h.access(0, 'write')
    const fault = h.take('fault')
    return { h, writeback, reader, fault }
  }

  it('a grant that a newer writeback acknowledgment has overtaken does not replace the newer bytes', () => {
    const { h, writeback, reader, fault } = overtaken()
    const pages = writeback.pages.map((page) => ({ ...page, seq: h.page(0)!.seq }))
    h.acknowledge({ req: 0, pages }, { version: 20 })
    expect(h.page(0)).toMatchObject({ access: 'invalid', dirty: false })
    h.grant(fault, { epoch: 3, seq: 0, value: 1, version: 10 })
    expect(reader.bytes![0]).toBe(7)
    expect(h.page(0)!.version).toBe(20)
  })

  it('a grant that a newer writeback acknowledgment has overtaken does not lower the number of the next writeback', () => {
    const { h, writeback, fault } = overtaken()
    const seq = h.page(0)!.seq
    h.acknowledge({ req: 0, pages: writeback.pages.map((page) => ({ ...page, seq })) }, { version: 20 })
    h.grant(fault, { epoch: 3, seq: 0, value: 1, version: 10 })
    h.flush(0)
    expect(h.take('writeback').pages[0]!.seq).toBeGreaterThan(seq)
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
