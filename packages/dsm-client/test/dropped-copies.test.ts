/** What the client tells the leader of pages that it drops (docs/coherence.md, Dropped copies). */
import { MAX_DROPPED_RUNS, type ClientMessage } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { DroppedCopies } from '../src/core/dropped-copies.js'
import { createSlabFrameProvider } from '../src/core/frames.js'
import { Page } from '../src/core/page.js'
import { CoreHarness, PAGE } from './support/core.js'

/** Sixteen pages fit, so four are told at a time. */
const small = () => new CoreHarness({ cacheBytes: 16 * PAGE }).connect()

function read(h: CoreHarness, ...pages: number[]): void {
  for (const page of pages) h.have(page, 'read')
}

const upTo = (end: number, first = 0) => Array.from({ length: end - first }, (_, i) => first + i)

describe('dropped copies', () => {
  it('dropped copies are told when they are a quarter of the cache, as runs, before the next fault', () => {
    const h = small()
    read(h, ...upTo(19))
    h.access(19, 'read')
    expect(h.take('dropped')).toMatchObject({ file: 9, runs: [{ page: 0, count: 4 }] })
    expect(h.take('fault').page).toBe(19)
  })

  it('dropped copies are not told of pages that are here again, or on their way', () => {
    const h = small()
    read(h, ...upTo(18))
    // Pages 0 and 1 have gone. Page 0 takes the frame of page 2, and page 18 that of page 3.
    h.have(0, 'read')
    h.access(18, 'read')
    expect(h.take('dropped').runs).toEqual([{ page: 1, count: 3 }])
  })

  it('dropped copies of a lost connection are not told on the next', () => {
    const h = small()
    read(h, ...upTo(19))
    h.disconnect()
    h.connect()
    read(h, 19, 20, 21)
    h.access(22, 'read')
    expect(h.take('dropped').runs).toEqual([{ page: 3, count: 4 }])
  })

  it('dropped copies of a file that is closed are not told', () => {
    const h = small()
    read(h, ...upTo(19))
    h.core.removeFile(9, new Error('closed'))
    h.core.addFile({ file: 9, path: '/f', pageSize: PAGE, size: 100 * PAGE })
    read(h, ...upTo(18))
    h.access(18, 'read')
    expect(h.take('fault').page).toBe(18)
    expect(h.nothingSent).toBe(true)
  })

  it('dropped copies that lie apart are told in as many messages as they need', () => {
    const messages: ClientMessage[] = []
    const send = (message: ClientMessage): void => void messages.push(message)
    const pages = 2 * MAX_DROPPED_RUNS + 1
    const dropped = new DroppedCopies({ maxBytes: pages * PAGE, isHeld: () => false, send })
    const memory = createSlabFrameProvider(16 * PAGE)
    for (const index of upTo(pages)) dropped.add(new Page(9, index * 2, PAGE, 1, memory))
    expect(messages.map((message) => message.type === 'dropped' && message.runs.length)).toEqual([
      MAX_DROPPED_RUNS,
      MAX_DROPPED_RUNS,
      1
    ])
  })
})
