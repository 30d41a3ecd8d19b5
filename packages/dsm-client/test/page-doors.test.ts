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
  readonly mapped = new Map<Frame, Mapped>()
  readonly calls: string[] = []

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

  protect({ file, index, frame }: FramedPage, access: PageAccess): void {
    this.calls.push(`${index} ${access}`)
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
  const check = (): void => {
    for (const page of h.core.pages()) {
      const mapped = page.frame && frames.mapped.get(page.frame)
      expect(mapped?.access ?? 'invalid', `page ${page.index}`).toBe(page.access)
      if (page.frame !== undefined) expect(mapped?.page).toBe(`${FILE}:${page.index}`)
    }
  }
  return { frames, h, check }
}

function pinAll(h: CoreHarness, count: number): void {
  const space = h.core.table.space(FILE)!
  requestPin(h.core.table, { space, first: 0, count, access: 'read' }, { done() {}, fail() {}, advanced() {} })
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
    expect(frames.calls.slice(3)).toEqual(moves)
  })

  it('the doors of a page take access away before a pin copies the bytes to other frames, so that the copy has the last write', () => {
    const { frames, h, check } = setUp(PAGE * 64)
    for (const page of [2, 0, 1]) h.have(page, 'write', { write: 5 })
    pinAll(h, 3)
    check()
    expect([0, 1, 2].map((page) => h.peek(page))).toEqual([6, 6, 6])
    expect(frames.calls.slice(3).filter((call) => call.startsWith('0'))).toEqual(['0 invalid', '0 modified'])
  })

  it('the doors of a page take access away before a pin moves pages within the frames that they occupy', () => {
    const { frames, h, check } = setUp()
    const pages = Array.from({ length: 16 }, (_, page) => page)
    // Fewer than half of the pages are dirty, so that no writeback holds one of them.
    for (const page of pages.toReversed()) h.have(page, page < 6 ? 'write' : 'read', { value: 5 })
    pinAll(h, 16)
    check()
    expect(pages.map((page) => h.peek(page))).toEqual(pages.map((page) => (page < 6 ? 6 : 5)))
    expect(frames.calls.slice(16)).toEqual([
      ...pages.map((page) => `${page} invalid`),
      ...pages.map((page) => `${page} ${page < 6 ? 'modified' : 'shared'}`)
    ])
  })
})
