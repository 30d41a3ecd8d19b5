import { describe, expect, it } from 'vitest'
import { MAX_HOLD_MS } from '../src/core/hold-times.js'
import { CoreHarness, FILE } from './support/core.js'

/** Grants a page, uses it `uses` times, and lets the leader revoke it at once. */
function turn(h: CoreHarness, uses: number): void {
  h.access(0, 'write')
  h.grant(h.take('fault'), { epoch: h.now + 1 })
  for (let i = 1; i < uses; i++) h.access(0, 'write', { write: i })
  h.receive({ type: 'revoke', term: h.term, op: 1, file: FILE, page: 0, count: 1, after: 0 })
}

describe('a page that another session wants', () => {
  it('a page that another session wants goes at once after a single use, so that strict alternation costs nothing', () => {
    const h = new CoreHarness().connect()
    for (let i = 0; i < 5; i++) {
      turn(h, 1)
      h.take('ownerAckDirty')
      h.advance(1)
    }
    expect(h.core.nextDeadline).toBe(Infinity)
  })

  it('a page that another session wants stays longer from turn to turn while it is in use, up to MAX_HOLD_MS', () => {
    const h = new CoreHarness().connect()
    const kept: number[] = []
    for (let i = 0; i < 8; i++) {
      turn(h, 10)
      expect(h.nothingSent).toBe(true)
      const since = h.now
      kept.push(h.core.nextDeadline - since)
      h.advance(h.core.nextDeadline - since - 0.1)
      expect(h.nothingSent).toBe(true)
      h.advance(0.1)
      h.take('ownerAckDirty')
      h.advance(1)
    }
    expect(kept[0]).toBeLessThan(1)
    expect([...kept].sort((a, b) => a - b)).toEqual(kept)
    expect(kept.at(-1)).toBe(MAX_HOLD_MS)
  })

  it('a page that another session wants stays for less time again after turns with a single use', () => {
    const h = new CoreHarness().connect()
    for (let i = 0; i < 8; i++) {
      turn(h, 10)
      h.advance(MAX_HOLD_MS)
      h.take('ownerAckDirty')
    }
    for (let i = 0; i < 8; i++) {
      turn(h, 1)
      h.advance(MAX_HOLD_MS)
      h.take('ownerAckDirty')
    }
    turn(h, 1)
    h.take('ownerAckDirty')
  })

  it('a page that another session wants goes at once if its grant is older than its hold time', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    for (let i = 0; i < 10; i++) h.access(0, 'write', { write: i })
    h.advance(MAX_HOLD_MS)
    h.receive({ type: 'revoke', term: h.term, op: 1, file: FILE, page: 0, count: 1, after: 0 })
    h.take('ownerAckDirty')
  })

  it('a page that another session wants goes at once if the client changed it once, and then only looked at it', () => {
    const h = new CoreHarness().connect()
    for (let i = 0; i < 5; i++) {
      turn(h, 1)
      h.take('ownerAckDirty')
      h.access(0, 'write')
      h.grant(h.take('fault'), { epoch: h.now + 2 })
      for (let look = 0; look < 10; look++) {
        h.access(0, 'read')
        const pin = h.access(0, 'write', { pin: true })
        h.core.unpin(pin.page!, 'write', false)
      }
      h.receive({ type: 'revoke', term: h.term, op: 1, file: FILE, page: 0, count: 1, after: 0 })
      h.take('ownerAckDirty')
      h.advance(1)
    }
  })

  it('a page that another session wants stays if pins change it again and again', () => {
    const h = new CoreHarness().connect()
    turn(h, 1)
    h.take('ownerAckDirty')
    h.access(0, 'write')
    h.grant(h.take('fault'), { epoch: h.now + 2 })
    for (let i = 0; i < 3; i++) h.access(0, 'write', { pin: true }).unpin()
    h.receive({ type: 'revoke', term: h.term, op: 1, file: FILE, page: 0, count: 1, after: 0 })
    expect(h.nothingSent).toBe(true)
  })

  it('a page that the client only reads goes at once', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'read')
    for (let i = 0; i < 10; i++) h.access(0, 'read')
    h.receive({ type: 'invalidate', term: h.term, op: 1, file: FILE, page: 0, count: 1, after: 0 })
    h.take('invalidateAck')
  })
})
