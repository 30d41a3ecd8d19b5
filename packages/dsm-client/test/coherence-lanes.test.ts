/** Messages that overtake each other on two lanes, and the duties of a closing client. The simulation found these. */
import { ClosedError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
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

  it('does not let the grant replace the newer bytes', () => {
    const { h, writeback, reader, fault } = overtaken()
    const pages = writeback.pages.map((page) => ({ ...page, seq: h.page(0)!.seq }))
    h.acknowledge({ req: 0, pages }, { version: 20 })
    expect(h.page(0)).toMatchObject({ access: 'invalid', dirty: false })
    h.grant(fault, { epoch: 3, seq: 0, value: 1, version: 10 })
    expect(reader.bytes![0]).toBe(7)
    expect(h.page(0)!.version).toBe(20)
  })

  it('does not let the grant lower the number of the next writeback', () => {
    const { h, writeback, fault } = overtaken()
    const seq = h.page(0)!.seq
    h.acknowledge({ req: 0, pages: writeback.pages.map((page) => ({ ...page, seq })) }, { version: 20 })
    h.grant(fault, { epoch: 3, seq: 0, value: 1, version: 10 })
    h.flush(0)
    expect(h.take('writeback').pages[0]!.seq).toBeGreaterThan(seq)
  })
})

describe('a file that the client unmaps', () => {
  it('has no accessible page, and gives its dirty bytes to a leader that revokes them', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.core.unmapFile(FILE)
    expect(h.page(0)).toMatchObject({ access: 'invalid', dirty: true })
    h.order('revoke', 0)
    expect(h.take('ownerAckDirty').dirty.bytes[0]).toBe(7)
  })

  it('uses no grant that was in flight', () => {
    const h = new CoreHarness().connect()
    const waiter = h.access(0, 'write')
    const fault = h.take('fault')
    h.core.refuseWaiters(FILE, new ClosedError('the client'))
    h.core.unmapFile(FILE)
    expect(waiter.error).toBeInstanceOf(ClosedError)
    h.grant(fault)
    expect(h.page(0)).toBeUndefined()
    h.order('revoke', 0, { after: fault.req })
    expect(h.take('ownerAck').held).toBe(false)
  })
})
