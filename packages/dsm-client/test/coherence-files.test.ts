/** Files that are closed or unmapped, one message at a time. */
import { ClosedError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE } from './support/core.js'

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

describe('a file that the client unmaps', () => {
  it('an unmapped file has no accessible page, and gives its dirty bytes to a leader that revokes them', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.core.unmapFile(FILE)
    expect(h.page(0)).toMatchObject({ access: 'invalid', dirty: true })
    h.order('revoke', 0)
    expect(h.takeDirty().dirty.bytes[0]).toBe(7)
  })

  it('an unmapped file uses no grant that was in flight', () => {
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
