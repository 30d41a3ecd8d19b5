/** Rules 3, 4 and 12 to 15 of docs/coherence.md in the client, one message at a time. */
import { UnavailableError, errorToWire } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE, PAGE } from './support/core.js'

describe('rule 3: the client drops messages of another term', () => {
  it('rule 3: the client answers no demotion of an earlier or later term, and keeps its access', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    for (const term of [4, 6]) {
      for (const type of ['invalidate', 'revoke', 'downgrade'] as const) h.order(type, 0, { term })
    }
    expect(h.nothingSent).toBe(true)
    expect(h.peek(0)).toBe(1)
  })

  it('rule 3: the client ignores a grant of an earlier term', () => {
    const h = new CoreHarness().connect()
    const waiter = h.access(0, 'read')
    const fault = h.take('fault')
    h.grant(fault, { term: 4 })
    expect(waiter.state).toBe('waiting')
    h.grant(fault)
    expect(waiter.state).toBe('ran')
  })

  it('rule 3: the client ignores a writeback acknowledgment of an earlier term', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const { req, pages } = h.take('writeback')
    h.receive({
      type: 'writebackAck',
      term: 4,
      req,
      pages: pages.map((page) => ({ ...page, version: 9, result: 'stored' as const }))
    })
    expect(flush.done).toBe(0)
    expect(h.page(0)!.dirty).toBe(true)
  })

  it('rule 3: the client ignores every message while it has no connection', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    h.disconnect()
    h.order('revoke', 0, { term: 0 })
    h.order('revoke', 0)
    expect(h.nothingSent).toBe(true)
    expect(h.peek(0)).toBe(1)
  })
})

describe('rule 4: a reply names its request', () => {
  it('a grant serves only the fault that it names', () => {
    const h = new CoreHarness().connect()
    const [first, second] = [h.access(0, 'read'), h.access(1, 'read')]
    h.take('fault')
    h.grant(h.take('fault'), { value: 2 })
    expect([first.state, second.state]).toEqual(['waiting', 'ran'])
  })

  it('the client ignores a grant without a fault', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 1 })
    h.grant({ type: 'fault', req: 99, file: FILE, page: 0, count: 1, access: 'write', have: 0 }, { value: 7 })
    expect(h.peek(0)).toBe(1)
    expect(h.page(0)!.access).toBe('shared')
  })

  it('the client uses a repeated grant once', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'write', { write: 1 })
    const fault = h.take('fault')
    h.grant(fault)
    h.grant(fault, { value: 9 })
    expect(h.peek(0)).toBe(1)
  })

  it('the client ignores a grant of an earlier connection', () => {
    const h = new CoreHarness().connect()
    const waiter = h.access(0, 'read')
    const old = h.take('fault')
    h.disconnect()
    h.connect()
    const repeated = h.take('fault')
    expect(repeated.req).not.toBe(old.req)
    h.grant(old, { value: 1 })
    expect(waiter.state).toBe('waiting')
    h.grant(repeated, { value: 2 })
    expect(waiter.bytes![0]).toBe(2)
  })

  it('an acknowledgment of another writeback leaves the page dirty', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const writeback = h.take('writeback')
    h.acknowledge({ ...writeback, req: writeback.req + 1 })
    expect([flush.done, h.page(0)!.dirty]).toEqual([0, true])
    h.acknowledge(writeback)
    expect([flush.done, h.page(0)!.dirty]).toEqual([1, false])
  })

  it('the client answers each demotion under the number of its operation', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read')
    h.order('invalidate', 0, { op: 41 })
    h.order('invalidate', 0, { op: 42 })
    expect([h.take('invalidateAck').op, h.take('invalidateAck').op]).toEqual([41, 42])
  })
})

describe('pages that count as taken', () => {
  it.each([
    ['invalidate', 'read'],
    ['revoke', 'write'],
    ['downgrade', 'write']
  ] as const)('a page that loses access by an order to %s counts, and one without access does not', (type, access) => {
    const h = new CoreHarness().connect()
    const taken = (): number | undefined => h.counters.taken.top(8, new Set([FILE]))[0]?.taken
    for (let i = 0; i < 2; i++) {
      h.have(0, access)
      h.order(type, 0)
      h.sent = []
    }
    expect(taken()).toBe(2)
    h.order('invalidate', 0)
    // The first order finds a page that waits for its grant, and the second finds no page.
    const waiter = h.access(0, 'write')
    const before = taken()
    h.order(type, 0)
    waiter.withdraw()
    h.order(type, 0)
    expect(taken()).toBe(before)
  })
})

describe('rule 12: a page that the leader revokes', () => {
  it('rule 12: a page that the leader revokes becomes inaccessible before its bytes leave on bulk', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('revoke', 0, { op: 5 })
    expect(h.sent.map(({ lane }) => lane)).toEqual(['bulk'])
    const { op, dirty } = h.takeDirty()
    expect([op, dirty.epoch, dirty.bytes[0]]).toEqual([5, 3, 7])
    expect(h.page(0)!.access).toBe('invalid')
  })

  it('rule 12: a page that the leader revokes keeps its dirty bytes and their epoch until the acknowledgment that names them', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('revoke', 0)
    const { dirty } = h.takeDirty()
    expect(h.page(0)).toMatchObject({ access: 'invalid', dirty: true, epoch: 3 })
    h.acknowledge({ req: 0, pages: [{ ...dirty, epoch: 2 }] })
    h.acknowledge({ req: 0, pages: [dirty] }, { seq: dirty.seq - 1 })
    expect(h.page(0)!.dirty).toBe(true)
    h.acknowledge({ req: 0, pages: [dirty] })
    expect(h.page(0)).toBeUndefined()
    expect(h.frames.usedBytes).toBe(0)
  })

  it('rule 12: the client sends the current bytes of a revoked page to the next leader if the first one dies before the commit', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('revoke', 0)
    const { dirty } = h.takeDirty()
    h.disconnect()
    h.term = 6
    h.connect()
    const [page] = h.take('writeback').pages
    expect([page!.epoch, page!.bytes[0]]).toEqual([3, 7])
    expect(page!.seq).toBeGreaterThan(dirty.seq)
  })

  it('rule 12: a page that the leader revokes becomes accessible again only by a grant', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 7 })
    h.order('revoke', 0)
    const { dirty } = h.takeDirty()
    const waiter = h.access(0, 'read')
    const fault = h.take('fault')
    expect(fault.have).toBe(0)
    h.acknowledge({ req: 0, pages: [dirty] })
    expect(waiter.state).toBe('waiting')
    h.grant(fault, { value: 8 })
    expect(waiter.bytes![0]).toBe(8)
  })

  it('rule 12: the client answers a revoke without bytes if the page is clean, and with held: false if it does not have the page', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    h.flush(0)
    h.acknowledge(h.take('writeback'))
    h.order('revoke', 0)
    expect(h.take('ownerAck').held).toBe(true)
    h.order('revoke', 0)
    expect(h.take('ownerAck').held).toBe(false)
    h.order('invalidate', 77)
    h.take('invalidateAck')
  })

  it('rule 12: a page stays readable after a downgrade, and dirty until its bytes are durable', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 7 })
    h.order('downgrade', 0)
    const { dirty } = h.takeDirty()
    expect(h.peek(0)).toBe(7)
    expect(h.page(0)).toMatchObject({ access: 'shared', dirty: true })
    h.acknowledge({ req: 0, pages: [dirty] })
    expect(h.page(0)).toMatchObject({ access: 'shared', dirty: false, version: 20 })
  })
})

describe('rule 13: a grant', () => {
  it('a grant under the epoch of this session keeps the dirty bytes', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('downgrade', 0)
    const { dirty } = h.takeDirty()
    const writer = h.access(0, 'write')
    h.grant(h.take('fault'), { epoch: 3, seq: dirty.seq, value: 1 })
    expect(writer.bytes![0]).toBe(7)
  })

  it('a grant under another epoch replaces the dirty bytes, which a handover has committed', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('revoke', 0)
    h.take('ownerAckDirty')
    const flush = h.flush(0)
    const reader = h.access(0, 'read')
    h.grant(h.take('fault'), { value: 8 })
    expect(reader.bytes![0]).toBe(8)
    expect(flush.done).toBe(1)
    expect(h.page(0)!.dirty).toBe(false)
  })

  it('a grant to another owner replaces the dirty bytes, even under the same epoch', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 7 })
    h.order('revoke', 0)
    h.take('ownerAckDirty')
    const reader = h.access(0, 'read')
    h.grant(h.take('fault'), { owner: false, epoch: 3, value: 8 })
    expect(reader.bytes![0]).toBe(8)
  })

  it('a grant without bytes confirms the copy of the client, and with empty bytes it brings zeros', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 6, version: 10 })
    const writer = h.access(0, 'write')
    const fault = h.take('fault')
    expect(fault.have).toBe(10)
    h.grant(fault, { bytes: undefined, version: 10 })
    expect(writer.bytes![0]).toBe(6)
    h.order('revoke', 0)
    h.take('ownerAckDirty')
    const reader = h.access(0, 'read')
    h.grant(h.take('fault'), { bytes: new Uint8Array(0), version: 30 })
    expect(reader.bytes!.every((byte) => byte === 0)).toBe(true)
  })

  it('a grant without bytes for a copy that the client no longer has repeats the fault with have: 0', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 6, version: 10 })
    const writer = h.access(0, 'write')
    const fault = h.take('fault')
    h.order('invalidate', 0)
    h.take('invalidateAck')
    h.grant(fault, { bytes: undefined, version: 10 })
    expect(writer.state).toBe('waiting')
    const again = h.take('fault')
    expect([again.access, again.have]).toEqual(['write', 0])
    h.grant(again, { value: 8 })
    expect(writer.bytes![0]).toBe(8)
  })

  it('a grant without bytes for a copy of another version repeats the fault with have: 0', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 6, version: 10 })
    const writer = h.access(0, 'write')
    h.grant(h.take('fault'), { bytes: undefined, version: 11 })
    expect(writer.state).toBe('waiting')
    expect(h.take('fault').have).toBe(0)
  })

  it('a grant without bytes and without a waiter leaves neither a frame nor a demotion behind', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { version: 10 })
    const writer = h.access(0, 'write')
    const fault = h.take('fault')
    h.order('invalidate', 0)
    h.take('invalidateAck')
    writer.withdraw()
    h.order('revoke', 0, { op: 8, after: fault.req })
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { bytes: undefined, version: 10 })
    expect(h.take('ownerAck')).toMatchObject({ op: 8, held: false })
    expect(h.page(0)).toBeUndefined()
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a grant fails an assertion if its bytes are not as long as a page', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'read')
    expect(() => h.grant(h.take('fault'), { bytes: new Uint8Array(5) })).toThrow(
      `a grant of 5 bytes for a page of ${PAGE}`
    )
  })

  it('an invalidation after a grant makes the client drop the page before it acknowledges', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read', { value: 3 })
    h.order('invalidate', 0, { op: 12 })
    expect(h.take('invalidateAck')).toMatchObject({ op: 12, file: FILE, page: 0 })
    expect(h.page(0)).toBeUndefined()
    expect(h.frames.usedBytes).toBe(0)
    expect(h.peek(0)).toBeUndefined()
  })
})

describe('rule 14: a writeback acknowledgment', () => {
  it('an acknowledgement cleans only the version of the bytes that it names', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const first = h.flush(0)
    const writeback = h.take('writeback')
    h.access(0, 'write', { write: 2 })
    h.acknowledge(writeback)
    expect(first.done).toBe(1)
    expect(h.page(0)!.dirty).toBe(true)
    const second = h.flush(0)
    const next = h.take('writeback')
    expect(next.pages[0]!.bytes[0]).toBe(2)
    h.acknowledge(next)
    expect([second.done, h.page(0)!.dirty]).toEqual([1, false])
  })

  it('an acknowledgement of older bytes leaves the page dirty while newer bytes are in flight', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    h.flush(0)
    const first = h.take('writeback')
    h.access(0, 'write', { write: 2 })
    const flush = h.flush(0)
    const second = h.take('writeback')
    h.acknowledge(first)
    expect([flush.done, h.page(0)!.dirty]).toEqual([0, true])
    h.acknowledge(second)
    expect([flush.done, h.page(0)!.dirty]).toEqual([1, false])
  })

  it('an acknowledgement with stale: true drops the committed bytes and completes the flush', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    h.order('revoke', 0)
    const flush = h.flush(0)
    h.disconnect()
    h.connect()
    h.acknowledge(h.take('writeback'), { result: 'stale' })
    expect(flush.done).toBe(1)
    expect(h.page(0)).toBeUndefined()
  })

  it('an acknowledgement with stale: true for older bytes leaves newer bytes alone', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { epoch: 3, write: 1 })
    h.flush(0)
    const held = h.take('writeback')
    h.order('downgrade', 0)
    const { dirty } = h.takeDirty()
    // The bytes of the downgrade overtake the writeback, and the client gets the page again under the same epoch.
    h.acknowledge({ req: 0, pages: [dirty] })
    const writer = h.access(0, 'write', { write: 2 })
    h.grant(h.take('fault'), { epoch: 3, seq: dirty.seq, bytes: undefined, version: 20 })
    expect(writer.state).toBe('ran')
    h.acknowledge(held, { result: 'stale' })
    expect(h.peek(0)).toBe(2)
    expect(h.page(0)).toMatchObject({ access: 'modified', dirty: true })
  })
})

describe('hazard: grant arriving after the revoke of a newer term', () => {
  it('a grant that arrives after the revoke of a newer term is dropped without an answer, because its term is lower than that of the connection', () => {
    const h = new CoreHarness().connect()
    const waiter = h.access(0, 'write')
    const fault = h.take('fault')
    h.disconnect()
    h.term = 6
    h.connect()
    const again = h.take('fault')
    h.order('revoke', 0, { op: 3 })
    expect(h.take('ownerAck')).toMatchObject({ op: 3, held: false })
    h.grant(fault, { term: 5, value: 9 })
    h.grant({ ...fault, req: again.req }, { term: 5, value: 9 })
    expect(waiter.state).toBe('waiting')
    expect(h.nothingSent).toBe(true)
    h.grant(again, { value: 1 })
    expect(waiter.state).toBe('ran')
  })
})

describe('rule 15: after a reconnection, the client', () => {
  it('rule 15: after a reconnection, the client repeats unanswered faults with the access that its waiters need now', () => {
    const h = new CoreHarness().connect()
    const reader = h.access(0, 'read')
    h.take('fault')
    const gone = h.access(1, 'read')
    h.take('fault')
    h.disconnect()
    const writer = h.access(0, 'write')
    gone.withdraw()
    h.connect()
    const fault = h.take('fault')
    expect([fault.page, fault.access]).toEqual([0, 'write'])
    expect(h.nothingSent).toBe(true)
    h.grant(fault)
    expect([reader.state, writer.state]).toEqual(['ran', 'ran'])
  })

  it('rule 15: after a reconnection, the client repeats writebacks with its current bytes', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const old = h.take('writeback')
    h.disconnect()
    h.access(0, 'write', { write: 2 })
    h.connect()
    const repeated = h.take('writeback')
    expect(repeated.pages[0]!.bytes[0]).toBe(2)
    expect(repeated.pages[0]!.seq).toBeGreaterThan(old.pages[0]!.seq)
    h.acknowledge(repeated)
    expect([flush.done, h.page(0)!.dirty]).toEqual([1, false])
  })

  it('rule 15: after a reconnection, the client keeps dirty pages that no flush waits for', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    h.disconnect()
    h.connect()
    expect(h.nothingSent).toBe(true)
    expect(h.peek(0)).toBe(1)
  })

  it('rule 15: after a reconnection, the client forgets the demotions of the lost connection, which the leader repeats', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read')
    const pin = h.access(0, 'read', { pin: true })
    h.order('invalidate', 0, { op: 3 })
    expect(h.isWanted(0)).toBe(true)
    h.disconnect()
    expect(h.isWanted(0)).toBe(false)
    h.connect()
    pin.unpin()
    expect(h.nothingSent).toBe(true)
    h.order('invalidate', 0, { op: 4 })
    expect(h.take('invalidateAck').op).toBe(4)
  })

  it('rule 15: after a reconnection, the client completes a flush by the acknowledgment of the repeated writeback, not of the lost one', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const lost = h.take('writeback')
    h.disconnect()
    h.connect()
    const repeated = h.take('writeback')
    h.acknowledge({ req: lost.req, pages: lost.pages })
    expect(flush.done).toBe(0)
    h.acknowledge(repeated)
    expect(flush.done).toBe(1)
  })
})

describe('progress: waiters use a grant before the page can go', () => {
  it.each(['invalidate', 'revoke', 'downgrade'] as const)(
    '%s waits for the grant that it follows, and the waiter runs first',
    (type) => {
      const h = new CoreHarness().connect()
      const waiter = h.access(0, type === 'invalidate' ? 'read' : 'write')
      const fault = h.take('fault')
      h.order(type, 0, { op: 3, after: fault.req })
      expect(h.nothingSent).toBe(true)
      expect(waiter.state).toBe('waiting')
      h.grant(fault)
      expect(waiter.state).toBe('ran')
      expect(h.take(type === 'invalidate' ? 'invalidateAck' : 'ownerAckDirty').op).toBe(3)
    }
  )

  it('a demotion that follows an earlier grant does not wait for the next grant', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'read')
    const first = h.take('fault')
    h.grant(first)
    const writer = h.access(0, 'write')
    h.take('fault')
    h.order('invalidate', 0, { op: 3, after: first.req })
    expect(h.take('invalidateAck').op).toBe(3)
    expect(writer.state).toBe('waiting')
  })

  it('the client obeys a demotion whose fault has failed', () => {
    const h = new CoreHarness().connect()
    h.access(0, 'write')
    const fault = h.take('fault')
    h.order('revoke', 0, { op: 3, after: fault.req })
    const { req, file, page } = fault
    h.receive({ type: 'faultFailed', term: 5, req, file, page, error: errorToWire(new UnavailableError('full')) })
    expect(h.take('ownerAck')).toMatchObject({ op: 3, held: false })
  })

  it('a grant runs all waiters in the order of their arrival before the page goes', () => {
    const h = new CoreHarness().connect()
    const order: number[] = []
    for (const name of [1, 2, 3]) {
      h.core.access(FILE, 0, { access: 'write', pin: false, run: () => order.push(name), fail: () => {} })
    }
    h.drain()
    const fault = h.take('fault')
    h.order('revoke', 0, { after: fault.req })
    h.grant(fault)
    expect(order).toEqual([1, 2, 3])
    h.take('ownerAckDirty')
  })
})
