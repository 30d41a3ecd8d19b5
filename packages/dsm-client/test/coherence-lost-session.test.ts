/** What the core frees and reports when its session is lost. */
import { describe, expect, it } from 'vitest'
import { PrivateCopies } from '../src/core/private-copies.js'
import { CoreHarness, FILE, PAGE } from './support/core.js'

describe('lost sessions', () => {
  it('a lost session frees private copies at once, and pinned ones with their release', () => {
    const h = new CoreHarness().connect()
    const copies = new PrivateCopies(h.core.table.frames)
    h.core.table.space(FILE)!.privateCopies.add(copies)
    for (const index of [0, 1]) {
      h.core.table.frames.wantFrames(
        PAGE,
        1,
        ([frame]) => copies.add(index, frame!, new Uint8Array(PAGE)),
        () => {}
      )
    }
    const unpin = copies.pin(1, 1)
    h.lose()
    expect(h.frames.usedBytes).toBe(PAGE)
    unpin()
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a lost session lists dirty bytes as merged ranges, file by file', () => {
    const h = new CoreHarness({ cacheBytes: 4 * 1024 * 1024 }).connect()
    h.core.addFile({ file: 10, path: '/g', pageSize: 2 * PAGE })
    for (const page of [7, 3, 4, 5]) h.have(page, 'write')
    h.have(6, 'read')
    h.core.access(10, 2, { access: 'write', pin: false, run: () => {}, fail: () => {} })
    h.drain()
    h.grant(h.take('fault'), { bytes: new Uint8Array(0) })
    expect(h.lose()).toEqual([
      { file: '9', path: '/f', offset: 3 * PAGE, length: 3 * PAGE },
      { file: '9', path: '/f', offset: 7 * PAGE, length: PAGE },
      { file: '10', path: '/g', offset: 4 * PAGE, length: 2 * PAGE }
    ])
    expect(h.frames.usedBytes).toBe(0)
  })

  it('a lost session fails waiters and flushes, and counts bytes in flight as lost', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write', { write: 1 })
    const flush = h.flush(0)
    const waiter = h.access(1, 'read')
    expect(h.lose()).toEqual([{ file: '9', path: '/f', offset: 0, length: PAGE }])
    expect(waiter.error?.message).toBe('the session is gone')
    expect(flush.errors.map((error) => error.message)).toEqual(['the session is gone'])
  })

  it('a lost session reports no lost bytes if all were flushed', () => {
    const h = new CoreHarness().connect()
    h.have(0, 'write')
    h.flush(0)
    h.acknowledge(h.take('writeback'))
    expect(h.lose()).toEqual([])
  })
})
