/** The frame provider takes part in every change of access, so that it can map frames into a program's memory. */
import { describe, expect, it } from 'vitest'
import {
  createSlabFrameProvider,
  type Frame,
  type FramedPage,
  type FrameProvider,
  type FrameSpace,
  type PageAccess
} from '../src/core/frames.js'
import { requestPin } from '../src/core/pin-request.js'
import { CoreHarness, FILE, PAGE, SMALL_CACHE } from './support/core.js'

interface Mapped {
  readonly page: string
  access: PageAccess
}

/** Records the accesses that the doors would allow to a mapping of the frames into a program's memory. */
class MirrorProvider implements FrameProvider {
  readonly isMapped = true
  readonly mapped = new Map<Frame, Mapped>()
  readonly calls: string[] = []
  readonly lengths: number[] = []
  /** Pages that the program uses without the table. */
  readonly used = new Set<number>()

  constructor(private readonly inner: FrameProvider) {}

  get capacityBytes(): number {
    return this.inner.capacityBytes
  }

  get usedBytes(): number {
    return this.inner.usedBytes
  }

  allocate(space: FrameSpace, index: number): Frame | undefined {
    const frame = this.inner.allocate(space, index)
    if (frame !== undefined) this.mapped.set(frame, { page: `${space.file}:${index}`, access: 'invalid' })
    return frame
  }

  allocateRun(space: FrameSpace, first: number, count: number): readonly Frame[] | undefined {
    const run = this.inner.allocateRun(space, first, count)
    for (const [i, frame] of (run ?? []).entries()) {
      this.mapped.set(frame, { page: `${space.file}:${first + i}`, access: 'invalid' })
    }
    return run
  }

  allocateAnonymous(pageSize: number, count: number): readonly Frame[] | undefined {
    return this.inner.allocateAnonymous(pageSize, count)
  }

  couldAllocateRun(pageSize: number, count: number, isDroppable: (frame: Frame) => boolean): boolean {
    return this.inner.couldAllocateRun(pageSize, count, isDroppable)
  }

  newSpace(): number {
    return this.inner.newSpace()
  }

  takeUsed({ index }: FramedPage): boolean {
    return this.used.delete(index)
  }

  protect({ file, index, frame }: FramedPage, access: PageAccess, length: number): void {
    this.calls.push(`${index} ${access}`)
    this.lengths.push(length)
    const mapped = frame && this.mapped.get(frame)
    expect(mapped?.page, `protect of ${file}:${index}`).toBe(`${file}:${index}`)
    // The program writes for as long as it may.
    if (mapped!.access === 'modified' && access !== 'modified') frame!.bytes[0]!++
    mapped!.access = access
  }

  free(frame: Frame): void {
    const mapped = this.mapped.get(frame)
    expect(mapped?.access ?? 'invalid', `access to a free frame of ${mapped?.page}`).toBe('invalid')
    this.mapped.delete(frame)
    this.inner.free(frame)
  }
}

function setUp(cacheBytes = SMALL_CACHE) {
  const frames = new MirrorProvider(createSlabFrameProvider(cacheBytes))
  const h = new CoreHarness({ frames }).connect()
  h.core.table.space(FILE)!.size = 64 * PAGE
  const check = (): void => {
    for (const page of h.core.pages()) {
      const mapped = page.frame && frames.mapped.get(page.frame)
      expect(mapped?.access ?? 'invalid', `page ${page.index}`).toBe(page.mapped)
      if (page.mapped !== 'invalid') expect(page.allows('read')).toBe(true)
      if (page.mapped === 'modified') expect([page.access, page.dirty, page.changed]).toEqual(['modified', true, true])
      if (page.frame !== undefined) expect(mapped?.page).toBe(`${FILE}:${page.index}`)
    }
  }
  return { frames, h, check }
}

function pinAll(h: CoreHarness, count: number): void {
  const space = h.core.table.space(FILE)!
  requestPin(h.core.table, { space, first: 0, count, access: 'read' }, { done() {}, fail() {}, advanced() {} })
}

/** Returns the first byte of the page, without an access. */
function first(h: CoreHarness, page: number): number {
  return h.core.table.page(FILE, page)!.frame!.bytes[0]!
}

describe('the doors of a page', () => {
  it('the doors of a page tell the frame provider of each grant, downgrade and invalidation, once', () => {
    const { frames, h, check } = setUp()
    h.have(0, 'read')
    h.have(1, 'write')
    check()
    expect(frames.calls).toEqual(['0 shared', '1 modified'])
    h.order('downgrade', 1, { op: 1 })
    h.order('invalidate', 0, { op: 2 })
    h.order('revoke', 1, { op: 3 })
    check()
    expect(frames.calls.slice(2)).toEqual(['1 shared', '0 invalid', '1 invalid'])
  })

  it('the doors of a page give no access with a downgrade of a page that has none', () => {
    const { frames, h, check } = setUp()
    h.have(0, 'write', { write: 1 })
    h.core.unmapFile(FILE)
    h.order('downgrade', 0)
    check()
    expect(frames.calls).toEqual(['0 modified', '0 invalid'])
  })

  it('the doors of a page take access away before an eviction frees the frame', () => {
    const { frames, h, check } = setUp()
    for (let page = 0; page < 19; page++) h.have(page, 'read')
    check()
    expect(frames.calls.filter((call) => call.endsWith('invalid'))).toEqual(['0 invalid', '1 invalid', '2 invalid'])
  })

  it('the doors of a page keep the access of pages that a pin lays out in other frames', () => {
    const { frames, h, check } = setUp(PAGE * 64)
    for (const page of [2, 0, 1]) h.have(page, 'read')
    pinAll(h, 3)
    check()
    const moves = ['0 invalid', '0 shared', '1 invalid', '1 shared', '2 invalid', '2 shared']
    expect(frames.calls.slice(3).sort()).toEqual(moves)
  })

  it('the doors of a page take access away before a pin copies the bytes to other frames, so that the copy has the last write', () => {
    const { frames, h, check } = setUp(PAGE * 64)
    for (const page of [2, 0, 1]) h.have(page, 'write', { write: 5 })
    pinAll(h, 3)
    check()
    expect([0, 1, 2].map((page) => first(h, page))).toEqual([6, 6, 6])
    expect(frames.calls.slice(3).filter((call) => call.startsWith('0'))).toEqual(['0 invalid', '0 modified'])
  })

  it('the doors of a page take access away before a pin moves pages within the frames that they occupy', () => {
    const { frames, h, check } = setUp()
    const pages = Array.from({ length: 16 }, (_, page) => page)
    // Fewer than half of the pages are dirty, so that no writeback holds one of them.
    for (const page of pages.toReversed()) h.have(page, page < 6 ? 'write' : 'read', { value: 5 })
    pinAll(h, 16)
    check()
    expect(pages.map((page) => first(h, page))).toEqual(pages.map((page) => (page < 6 ? 6 : 5)))
    expect(frames.calls.slice(16)).toEqual([
      ...pages.map((page) => `${page} invalid`),
      ...pages.map((page) => `${page} ${page < 6 ? 'modified' : 'shared'}`).toReversed()
    ])
  })

  it('the doors of a page open with an access, not with a grant that nobody uses', () => {
    const { frames, h, check } = setUp()
    h.core.table.readAhead(h.core.table.space(FILE)!, 0)
    h.drain()
    h.grant(h.take('fault'))
    check()
    expect(frames.calls).toEqual([])
    h.peek(0)
    check()
    expect(frames.calls).toEqual(['0 shared'])
  })

  it('the doors of a page end writes before a writeback copies the bytes, and open again with the next write', () => {
    const { frames, h, check } = setUp()
    h.have(0, 'write', { write: 5 })
    h.flush(0)
    check()
    const writeback = h.take('writeback')
    // The program's last write is in the copy.
    expect(writeback.pages[0]!.bytes[0]).toBe(6)
    expect(frames.calls).toEqual(['0 modified', '0 shared'])
    h.acknowledge(writeback)
    h.peek(0)
    expect(frames.calls.slice(2)).toEqual([])
    h.access(0, 'write', { write: 7 })
    check()
    expect(frames.calls.slice(2)).toEqual(['0 invalid', '0 modified'])
  })

  it('the doors of a page end writes before the table reads the page for the program', () => {
    const { frames, h, check } = setUp()
    h.have(0, 'write', { write: 5 })
    expect(h.peek(0)).toBe(6)
    check()
    expect(frames.calls).toEqual(['0 modified', '0 shared', '0 modified'])
  })

  it('the doors of a page are closed while bytes of a grant replace its bytes', () => {
    const { frames, h, check } = setUp()
    h.have(0, 'read')
    h.access(0, 'write')
    h.grant(h.take('fault'), { value: 9, version: 11 })
    check()
    expect(frames.calls).toEqual(['0 shared', '0 invalid', '0 modified'])
  })

  it('the doors of a page open for its bytes within the file', () => {
    const { frames, h } = setUp()
    const space = h.core.table.space(FILE)!
    space.size = PAGE + 100
    h.have(0, 'read')
    h.have(1, 'read')
    h.have(2, 'read')
    expect(frames.lengths).toEqual([PAGE, 100])
    space.size = 2 * PAGE
    h.peek(1)
    expect(frames.lengths).toEqual([PAGE, 100, PAGE])
  })

  it('the doors of a page tell the hand of the reclaim that the program has used the page', () => {
    const { frames, h } = setUp()
    for (let page = 0; page < 16; page++) h.have(page, 'read')
    // The hand takes all first chances.
    h.have(16, 'read')
    frames.used.add(1)
    h.have(17, 'read')
    expect([...h.core.pages()].map(({ index }) => index)).not.toContain(2)
    expect([...h.core.pages()].map(({ index }) => index)).toContain(1)
  })
})
