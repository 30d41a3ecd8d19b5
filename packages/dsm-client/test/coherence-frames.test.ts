/** Accesses that need a frame of a small cache, one message at a time. */
import { CacheFullError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { CoreHarness, PAGE, SMALL_CACHE, FRAMES } from './support/core.js'

describe('frames', () => {
  function pinned(count = FRAMES) {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect()
    const pins = Array.from({ length: count }, (_, page) => {
      const pin = h.access(page, 'read', { pin: true })
      h.grant(h.take('fault'))
      return pin
    })
    return { h, pins }
  }

  it('an access fails at once with CacheFullError while all frames are pinned', () => {
    const { h, pins } = pinned()
    const waiter = h.access(50, 'read')
    expect(waiter.error).toBeInstanceOf(CacheFullError)
    expect(waiter.error).toMatchObject({ cacheBytes: SMALL_CACHE })
    expect(h.nothingSent).toBe(true)
    expect(h.page(50)).toBeUndefined()
    pins[3]!.unpin()
    h.have(50, 'read', { value: 1 })
    expect(h.peek(50)).toBe(1)
  })

  it('an access waits for frames that will become free', () => {
    const { h, pins } = pinned(FRAMES - 1)
    const first = h.access(50, 'read')
    const fault = h.take('fault')
    const second = h.access(51, 'read')
    expect([second.state, h.nothingSent]).toEqual(['waiting', true])
    h.grant(fault)
    expect(first.state).toBe('ran')
    h.grant(h.take('fault'))
    expect(second.state).toBe('ran')
    for (const pin of pins) pin.unpin()
  })

  it('writebacks free the frames of dirty pages in the order in which the pages became dirty', () => {
    const h = new CoreHarness({ cacheBytes: SMALL_CACHE }).connect({ creditBytes: 2 * PAGE })
    const written: number[] = []
    const wait = h.access(50, 'read')
    for (const page of [5, 3, ...Array.from({ length: FRAMES - 3 }, (_, index) => index + 20)]) {
      h.access(page, 'write', { write: 1 })
      h.grant(h.pick('fault'))
    }
    h.grant(h.pick('fault'))
    expect(wait.state).toBe('ran')
    const starved = [h.access(51, 'read'), h.access(52, 'read')]
    while (starved.some((waiter) => waiter.state === 'waiting')) {
      const next = h.sent[0]?.message.type
      if (next === 'fault') {
        h.grant(h.take('fault'))
        continue
      }
      const writeback = h.take('writeback')
      written.push(...writeback.pages.map((page) => page.page))
      h.acknowledge(writeback)
    }
    expect(written.slice(0, 3)).toEqual([5, 3, 20])
  })

  it('an upgrade needs no free frame, because its page has one', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { epoch: 3, write: 1 })
    h.order('downgrade', 50)
    const { dirty } = h.takeDirty()
    const starved = h.access(51, 'read')
    const writer = h.access(50, 'write', { write: 2 })
    h.grant(h.take('fault'), { epoch: 3, seq: dirty.seq })
    expect([writer.state, starved.state]).toEqual(['ran', 'waiting'])
  })

  it('an access fails if a full leader keeps all frames in use, and the next access tries again', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { write: 1 })
    const waiter = h.access(51, 'read')
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: { code: 'ERR_NO_SPACE', facts: ['peer'] } })
    expect(waiter.error).toMatchObject({ name: 'NoSpaceError' })
    const next = h.access(51, 'read')
    h.acknowledge(h.take('writeback'))
    h.grant(h.take('fault'))
    expect(next.state).toBe('ran')
  })

  it('an access waits for a retry if a busy leader keeps all frames in use', () => {
    const { h } = pinned(FRAMES - 1)
    h.have(50, 'write', { write: 1 })
    const waiter = h.access(51, 'read')
    const { req } = h.take('writeback')
    h.receive({ type: 'writebackFailed', term: 5, req, error: { code: 'ERR_UNAVAILABLE', facts: ['busy'] } })
    expect([waiter.state, h.nothingSent]).toEqual(['waiting', true])
    h.core.retry()
    h.drain()
    h.acknowledge(h.take('writeback'))
    h.grant(h.take('fault'))
    expect(waiter.state).toBe('ran')
  })
})
