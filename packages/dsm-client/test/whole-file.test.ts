/** Files that are owned as a whole (docs/coherence.md, "Whole files as the unit"), one message at a time. */
import { describe, expect, it } from 'vitest'
import { CoreHarness, FILE, PAGE } from './support/core.js'

const WHOLE = 11

function setUp() {
  const h = new CoreHarness().connect()
  h.core.addFile({ file: WHOLE, path: '/whole', pageSize: PAGE, unit: 'file' })
  const have = (page: number, write?: number): void => {
    h.access(page, write === undefined ? 'read' : 'write', { file: WHOLE, write })
    h.grant(h.take('fault'), { owner: true, access: 'write', epoch: 1 })
  }
  const revoke = (op = 1, after = 0): void =>
    h.receive({ type: 'revoke', term: h.term, op, file: WHOLE, page: 0, count: 1, after })
  return { h, have, revoke }
}

describe('a file that is owned as a whole', () => {
  it('a file that is owned as a whole faults each page for writing, even for a read', () => {
    const { h } = setUp()
    h.access(3, 'read', { file: WHOLE })
    expect(h.take('fault')).toMatchObject({ page: 3, access: 'write' })
  })

  it('a file that is owned as a whole is given up without bytes, after the acknowledgment of the writebacks of all dirty pages', () => {
    const { h, have, revoke } = setUp()
    have(0)
    have(1, 5)
    have(2, 6)
    revoke()
    const writeback = h.take('writeback')
    expect(writeback.pages.map(({ page, epoch, seq }) => [page, epoch, seq])).toEqual([
      [1, 1, 1],
      [2, 1, 2]
    ])
    expect(h.nothingSent).toBe(true)
    h.acknowledge(writeback)
    expect(h.take('ownerAck')).toMatchObject({ op: 1, file: WHOLE, page: 0, held: true })
    expect([...h.core.pages()]).toEqual([])
  })

  it('a file that is owned as a whole counts as taken if the client holds pages of it', () => {
    const { h, have, revoke } = setUp()
    for (let i = 0; i < 2; i++) {
      have(0)
      have(1, 5)
      revoke()
      h.acknowledge(h.pick('writeback'))
      revoke()
      revoke()
      h.sent = []
    }
    expect(h.counters.taken.top(8, new Set([WHOLE]))).toEqual([{ file: WHOLE, page: 0, taken: 2 }])
  })

  it('a file that is owned as a whole is written back ahead of ordinary flushes when the leader revokes it', () => {
    const { h, have, revoke } = setUp()
    have(0, 5)
    for (const page of [1, 2, 3]) {
      h.access(page, 'write', { write: 1 })
      h.grant(h.take('fault'))
    }
    h.disconnect()
    h.connect({ creditBytes: PAGE })
    const flushed: string[] = []
    for (const file of [FILE, WHOLE]) {
      h.core.flush(
        file,
        0,
        9,
        () => flushed.push(`page of ${file}`),
        () => {}
      )
    }
    h.drain()
    revoke(7)
    const files: number[] = []
    while (h.sent.some(({ message }) => message.type === 'writeback')) {
      const writeback = h.pick('writeback')
      files.push(writeback.pages[0]!.file)
      h.acknowledge(writeback)
    }
    // The first writeback was in flight.
    expect(files).toEqual([FILE, WHOLE, FILE, FILE])
    expect(h.pick('ownerAck')).toMatchObject({ op: 7 })
    expect(flushed).toEqual([FILE, WHOLE, FILE, FILE].map((file) => `page of ${file}`))
  })

  it('a file that is owned as a whole becomes inaccessible first, and later accesses wait and fault after the answer', () => {
    const { h, have, revoke } = setUp()
    have(0)
    have(1, 5)
    revoke()
    const writeback = h.take('writeback')
    const late = [h.access(0, 'read', { file: WHOLE }), h.access(2, 'read', { file: WHOLE })]
    // The leader would grant a fault of the owner at once, which could delay the answer forever.
    expect(h.nothingSent).toBe(true)
    h.acknowledge(writeback)
    h.take('ownerAck')
    for (const page of [0, 2]) {
      const fault = h.take('fault')
      expect(fault.page).toBe(page)
      h.grant(fault, { owner: true, access: 'write', epoch: 3 })
    }
    expect(late.map(({ state }) => state)).toEqual(['ran', 'ran'])
  })

  it('the revoke of a file that is owned as a whole waits for all outstanding faults, whichever grant it names, because the owner gets all of them', () => {
    const { h, have, revoke } = setUp()
    have(0)
    const waiter = h.access(1, 'write', { file: WHOLE, write: 7 })
    const fault = h.take('fault')
    revoke(1, fault.req - 1)
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { owner: true, access: 'write', epoch: 1 })
    expect(waiter.state).toBe('ran')
    const writeback = h.take('writeback')
    expect(writeback.pages).toMatchObject([{ page: 1, epoch: 1 }])
    h.acknowledge(writeback)
    expect(h.take('ownerAck').op).toBe(1)
  })

  it('the revoke of a file that is owned as a whole waits for pins and for grants in flight', () => {
    const { h, have, revoke } = setUp()
    have(0)
    const pin = h.access(0, 'write', { file: WHOLE, pin: true })
    h.access(1, 'read', { file: WHOLE })
    const fault = h.take('fault')
    revoke(1, fault.req)
    pin.unpin()
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { owner: true, access: 'write', epoch: 1 })
    h.acknowledge(h.take('writeback'))
    h.take('ownerAck')
  })

  it('a file that is owned as a whole numbers the writebacks of all its pages in one sequence', () => {
    const { h, have } = setUp()
    have(0, 1)
    have(1, 2)
    h.flush(0, 0, WHOLE)
    h.flush(1, 1, WHOLE)
    expect([h.take('writeback'), h.take('writeback')].flatMap(({ pages }) => pages.map(({ seq }) => seq))).toEqual([
      1, 2
    ])
  })

  it('hazard: a grant that names the newest writeback of the file does not clean a page in flight', () => {
    const { h, have } = setUp()
    have(0, 1)
    have(1, 2)
    h.flush(0, 1, WHOLE)
    const writeback = h.take('writeback')
    h.core.table.ranges.unmap(h.page(0) as never)
    h.access(0, 'read', { file: WHOLE })
    // The grant overtakes the acknowledgment.
    h.grant(h.take('fault'), { owner: true, access: 'write', epoch: 1, seq: 2, version: 20 })
    h.acknowledge(writeback)
    expect(h.page(0)).toMatchObject({ dirty: false, writing: false })
  })

  it('a file that is owned as a whole is written back again by `retry`, and not at once, if the leader refuses its bytes', () => {
    const { h, have, revoke } = setUp()
    have(0, 1)
    revoke()
    for (let tries = 0; tries < 3; tries++) {
      const { req } = h.take('writeback')
      h.receive({ type: 'writebackFailed', term: 5, req, error: { code: 'ERR_UNAVAILABLE', facts: ['busy'] } })
      expect(h.nothingSent).toBe(true)
      h.core.retry()
      h.drain()
    }
    h.acknowledge(h.take('writeback'))
    h.take('ownerAck')
  })

  it('the client answers the revoke of a whole file that it does not hold with held: false', () => {
    const { h, revoke } = setUp()
    revoke()
    expect(h.take('ownerAck')).toMatchObject({ held: false })
  })
})
