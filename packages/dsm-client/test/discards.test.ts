/** The client's part of docs/coherence.md, "Files that shrink", one message at a time. */
import { describe, expect, it } from 'vitest'
import { PrivateCopies } from '../src/core/private-copies.js'
import { CoreHarness, FILE, PAGE } from './support/core.js'

const END = Number.MAX_SAFE_INTEGER

function setUp() {
  const h = new CoreHarness().connect()
  const space = h.core.table.space(FILE)!
  space.size = 10 * PAGE
  const discard = (first: number, { op = 9, end = END, size = first * PAGE, discards = 1 } = {}): void =>
    h.receive({ type: 'discard', term: h.term, op, file: FILE, first, end, size, discards })
  const over = (committed: boolean, op = 9): void =>
    h.receive({ type: 'discarded', term: h.term, op, file: FILE, committed })
  return { h, space, discard, over }
}

describe('a discard', () => {
  it('a discard ends access in its range, lowers the known size, and is acknowledged, but leaves earlier pages alone', () => {
    const { h, space, discard } = setUp()
    h.have(0, 'read')
    h.have(3, 'read')
    discard(2)
    expect(h.take('discardAck')).toEqual({ type: 'discardAck', op: 9, file: FILE })
    expect(space.size).toBe(2 * PAGE)
    expect(h.peek(0)).toBe(0)
    h.access(3, 'read')
    expect(h.take('fault')).toMatchObject({ page: 3, have: 0 })
  })

  it('the client acknowledges a discard of a file that it does not have open', () => {
    const { h } = setUp()
    h.receive({ type: 'discard', term: 5, op: 3, file: 77, first: 0, end: END, size: 0, discards: 1 })
    expect(h.take('discardAck')).toMatchObject({ file: 77, op: 3 })
  })

  it('a discard waits for pins in its range, and delays new ones', () => {
    const { h, discard } = setUp()
    h.have(3, 'write')
    const pin = h.access(3, 'write', { pin: true })
    discard(2)
    expect(h.nothingSent).toBe(true)
    const second = h.access(3, 'write', { pin: true })
    expect(second.state).toBe('waiting')
    // Plain accesses run until then, because they do not delay the discard.
    expect(h.access(3, 'write').state).toBe('ran')
    pin.unpin()
    h.take('discardAck')
    expect(h.take('fault')).toMatchObject({ page: 3 })
  })

  it('a discard keeps dirty bytes until it is committed, because the leader may die before', () => {
    const { h, discard, over } = setUp()
    h.have(3, 'write', { write: 7 })
    discard(2)
    h.take('discardAck')
    expect(h.page(3)).toMatchObject({ access: 'invalid', dirty: true })
    over(false)
    h.access(3, 'read')
    h.grant(h.take('fault'), { owner: true, epoch: 1, value: 0 })
    expect(h.peek(3)).toBe(7)
  })

  it('a committed discard drops dirty bytes, and completes their flush', () => {
    const { h, discard, over } = setUp()
    h.have(3, 'write', { write: 7 })
    discard(2)
    h.take('discardAck')
    const flush = h.flush(3)
    over(true)
    expect(flush.done).toBe(1)
    expect(h.page(3)).toBeUndefined()
  })

  it('hazard: a grant older than the discard is not used, and the client repeats the fault', () => {
    const { h, discard, over } = setUp()
    const reader = h.access(3, 'read')
    const fault = h.take('fault')
    discard(2)
    h.take('discardAck')
    // The leader made this grant before the discard began. It arrives late on the other stream.
    h.grant(fault, { value: 7, discard: 0 })
    expect(reader.state).toBe('waiting')
    const again = h.take('fault')
    over(true)
    h.grant(again, { value: 0, discard: 9 })
    expect(reader.state).toBe('ran')
    expect(h.peek(3)).toBe(0)
  })

  it('a discard does not affect the grant of a page before its range', () => {
    const { h, discard } = setUp()
    const reader = h.access(1, 'read')
    const fault = h.take('fault')
    discard(2)
    h.take('discardAck')
    h.grant(fault, { value: 7 })
    expect(reader.state).toBe('ran')
  })

  it('a discard drops private copies in its range when it is committed, and not before (even_cows)', () => {
    const { h, space, discard, over } = setUp()
    const copies = new PrivateCopies(h.core.table.frames)
    space.privateCopies.add(copies)
    for (const index of [1, 3]) {
      h.core.table.frames.wantFrames(
        PAGE,
        1,
        ([frame]) => copies.add(index, frame!, new Uint8Array(PAGE).fill(index)),
        () => {}
      )
    }
    discard(2)
    expect(copies.get(3)?.[0]).toBe(3)
    over(false)
    expect(copies.get(3)?.[0]).toBe(3)
    discard(2, { op: 10 })
    over(true, 10)
    expect(copies.get(3)).toBeUndefined()
    expect(copies.get(1)?.[0]).toBe(1)
  })
})

describe('a page that is granted after a discard', () => {
  /** The client gets page 3 again and writes to it. `discarded` is still in flight on the other stream. */
  function overtaken() {
    const s = setUp()
    s.h.have(3, 'write', { write: 7 })
    s.discard(2, { discards: 4 })
    s.h.take('discardAck')
    s.h.access(3, 'write', { write: 8 })
    s.h.grant(s.h.take('fault'), { value: 1, epoch: 6, discard: 9, version: 30 })
    expect(s.h.peek(3)).toBe(8)
    return s
  }

  it('a page that is granted after a discard survives a late `discarded`', () => {
    const { h, over } = overtaken()
    const flush = h.flush(3)
    over(true)
    expect([flush.done, h.peek(3)]).toEqual([0, 8])
    h.acknowledge(h.take('writeback'))
    expect(flush.done).toBe(1)
  })

  it('a page that is granted after a discard survives the loss of the connection before `discarded` arrives', () => {
    const { h } = overtaken()
    h.disconnect()
    h.connect()
    h.core.resolveDiscard(FILE, 4)
    expect(h.page(3)).toMatchObject({ dirty: true, epoch: 6 })
  })

  it('a page that is granted after a discard keeps its private copies when `discarded` drops older ones', () => {
    const { h, space, discard, over } = setUp()
    const copies = new PrivateCopies(h.core.table.frames)
    space.privateCopies.add(copies)
    const copy = (index: number, value: number): void => {
      const add = (bytes: Uint8Array): void => {
        h.core.table.frames.wantFrames(
          PAGE,
          1,
          ([frame]) => copies.add(index, frame!, bytes),
          () => {}
        )
      }
      add(new Uint8Array(PAGE).fill(value))
    }
    copy(4, 1)
    discard(2)
    h.take('discardAck')
    h.access(3, 'read')
    h.grant(h.take('fault'), { value: 2, discard: 9 })
    copy(3, 2)
    over(true)
    expect([copies.get(3)?.[0], copies.get(4)]).toEqual([2, undefined])
  })

  it('a client requests no page of a discarded range after a reconnection until it knows the outcome of the discard', () => {
    const { h, discard } = setUp()
    discard(2, { discards: 4 })
    h.take('discardAck')
    h.disconnect()
    h.connect()
    const inside = h.access(3, 'write')
    h.access(1, 'read')
    expect(h.take('fault')).toMatchObject({ page: 1 })
    expect(h.nothingSent).toBe(true)
    h.core.resolveDiscard(FILE, 4)
    h.drain()
    h.grant(h.take('fault'), { discard: 0 })
    expect(inside.state).toBe('ran')
  })
})

describe('a demotion in the range of a discard', () => {
  it('hazard: a demotion that follows an older grant than the discard is obeyed when that grant is dropped', () => {
    const { h, discard } = setUp()
    const reader = h.access(3, 'read')
    const fault = h.take('fault')
    discard(2)
    h.take('discardAck')
    h.order('invalidate', 3, { op: 11, after: fault.req })
    expect(h.nothingSent).toBe(true)
    h.grant(fault, { discard: 0 })
    expect(h.take('invalidateAck').op).toBe(11)
    h.grant(h.take('fault'), { discard: 9 })
    expect(reader.state).toBe('ran')
  })
})

describe('a discard without a known outcome', () => {
  it('rule 4: is not acknowledged to another leader, which may use the same operation number', () => {
    const { h, discard } = setUp()
    h.have(3, 'write')
    const pin = h.access(3, 'write', { pin: true })
    discard(2, { op: 3 })
    h.disconnect()
    h.term = 6
    h.connect()
    pin.unpin()
    expect(h.nothingSent).toBe(true)
    h.core.removeFile(FILE, new Error('closed'))
    h.drain()
    expect(h.nothingSent).toBe(true)
  })

  it('a discard without a known outcome is decided by the count in the next discard', () => {
    for (const [discards, isGone] of [
      [5, true],
      [4, false]
    ] as const) {
      const { h, discard } = setUp()
      h.have(3, 'write', { write: 7 })
      discard(2, { op: 1, discards: 4 })
      h.take('discardAck')
      h.disconnect()
      h.term = 6
      h.connect()
      discard(0, { op: 1, end: 1, size: 10 * PAGE, discards })
      h.pick('discardAck')
      expect(h.page(3)?.dirty ?? false).toBe(!isGone)
    }
  })

  it('a discard without a known outcome is decided by the count that the cluster has for the file after a reconnection', () => {
    const { h, space, discard } = setUp()
    h.have(3, 'write', { write: 7 })
    discard(2, { discards: 4 })
    h.disconnect()
    h.connect()
    expect(h.core.unresolvedDiscards()).toEqual([FILE])
    h.core.resolveDiscard(FILE, 4)
    expect(space.discard).toBeUndefined()
    expect(h.page(3)?.dirty ?? false).toBe(false)
  })

  it('a discard without a known outcome counts as not carried out if the cluster has a lower count', () => {
    const { h, discard } = setUp()
    h.have(3, 'write', { write: 7 })
    discard(2, { discards: 4 })
    h.disconnect()
    h.connect()
    h.core.resolveDiscard(FILE, 3)
    expect(h.page(3)).toMatchObject({ dirty: true })
  })

  it('a discard without a known outcome runs again if its leader repeats it, and no earlier answer decides about it', () => {
    const { h, space, discard } = setUp()
    discard(2, { discards: 4 })
    h.disconnect()
    h.connect()
    discard(2, { discards: 4 })
    h.core.resolveDiscard(FILE, 3)
    expect(space.discard).toBeDefined()
    expect(space.size).toBe(2 * PAGE)
  })

  it('a discard that the client learns of only from a later grant makes the size unknown', () => {
    const { h, space } = setUp()
    h.access(1, 'read')
    h.grant(h.take('fault'), { discard: 12 })
    expect(space.size).toBe(0)
  })
})
