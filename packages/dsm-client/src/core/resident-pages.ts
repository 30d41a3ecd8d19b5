import { assert } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Frame, FrameProvider } from './frames.js'
import type { Page } from './page.js'

/**
 * Keeps the pages that have frames, sorted by what it takes to drop them.
 *
 * Clean pages can go at once, in the order of a second-chance hand (kernel: the inactive list). Dirty pages can go
 * after a writeback. Keeping both sets makes it cheap to find a victim.
 */
export class ResidentPages {
  private readonly resident = new Set<Page>()
  private readonly reclaimable = new Set<Page>()
  private readonly dirty = new Set<Page>()
  private dirtyBytes = 0

  constructor(private readonly frames: FrameProvider) {}

  get capacityBytes(): number {
    return this.frames.capacityBytes
  }

  get usedBytes(): number {
    return this.frames.usedBytes
  }

  /** More than half of the frames hold dirty bytes, and no writeback of these has begun. */
  get isMostlyDirty(): boolean {
    return this.dirtyBytes * 2 > this.frames.capacityBytes
  }

  /** Returns up to `count` pages to write back, the longest dirty first. */
  takeDirty(count: number): Page[] {
    const taken: Page[] = []
    for (const page of this.dirty) {
      if (taken.length === count) break
      this.forgetDirty(page)
      if (isWriteable(page)) taken.push(page)
    }
    return taken
  }

  /** Gives `page` a frame, and drops other pages by `evict` if it must. Returns false if there is no frame now. */
  place(page: Page, space: AddressSpacePages, evict: (victim: Page) => void): boolean {
    if (page.frame !== undefined) return true
    page.frame = this.make(() => this.frames.allocate(space, page.index), evict)
    if (page.frame === undefined) return false
    this.resident.add(page)
    return true
  }

  /** Calls `allocate`, and drops one page after another until it succeeds. */
  private make<T>(allocate: () => T | undefined, evict: (victim: Page) => void): T | undefined {
    for (;;) {
      const made = allocate()
      if (made !== undefined) return made
      const victim = this.victim()
      if (victim === undefined) return undefined
      evict(victim)
    }
  }

  /** Returns frames that follow one another and belong to no page. They stay until `releaseAnonymous`. */
  takeAnonymous(pageSize: number, count: number, evict: (victim: Page) => void): readonly Frame[] | undefined {
    return this.make(() => this.frames.allocateAnonymous(pageSize, count), evict)
  }

  releaseAnonymous(frame: Frame): void {
    this.frames.free(frame)
  }

  /**
   * Puts neighboring pages next to each other in memory, with their bytes. Returns `conflict` if a pin holds one of
   * them elsewhere, and `noRoom` if there is no such place now.
   */
  layOut(
    space: AddressSpacePages,
    pages: readonly Page[],
    evict: (victim: Page) => void
  ): 'done' | 'conflict' | 'noRoom' {
    if (isContiguous(pages)) return 'done'
    if (pages.some((page) => page.isHeld)) return 'conflict'
    const first = pages[0]!.index
    // Keep the range's own pages.
    for (const page of pages) this.reserve(page)
    const run = this.make(() => this.frames.allocateRun(space, first, pages.length), evict)
    for (const page of pages) this.unreserve(page)
    if (run === undefined) return this.compact(space, pages) ? 'done' : 'noRoom'
    for (const [i, page] of pages.entries()) {
      const frame = run[i]!
      if (page.frame !== undefined) {
        // A write after the copy of the bytes would be lost.
        page.unmap()
        frame.bytes.set(page.frame.bytes)
        this.frames.free(page.frame)
      }
      this.assign(page, frame)
    }
    return 'done'
  }

  /**
   * Puts the pages into a place that they partly occupy themselves. Without this, their pin would wait for room that
   * only the pin can make. It sets the bytes aside meanwhile, so it copies them twice. Returns false if there is no
   * such place.
   */
  private compact(space: AddressSpacePages, pages: readonly Page[]): boolean {
    const { pageSize } = space
    const own = new Set(pages.map(({ frame }) => frame).filter((frame) => frame !== undefined))
    if (own.size === 0 || !this.frames.couldAllocateRun(pageSize, pages.length, (frame) => own.has(frame))) return false
    for (const page of pages) page.unmap()
    const contents = pages.map(({ frame }) => frame?.bytes.slice())
    for (const frame of own) this.frames.free(frame)
    const run = this.frames.allocateRun(space, pages[0]!.index, pages.length)
    assert(
      run !== undefined,
      `no run of ${pages.length} frames of ${pageSize} bytes, although couldAllocateRun promised one`
    )
    for (const [i, page] of pages.entries()) {
      const bytes = contents[i]
      if (bytes !== undefined) run[i]!.bytes.set(bytes)
      this.assign(page, run[i]!)
    }
    return true
  }

  private assign(page: Page, frame: Frame): void {
    page.frame = frame
    this.resident.add(page)
  }

  /** Keeps the page's frame in its place until `unreserve`. */
  reserve(page: Page): void {
    page.reserved++
    this.changed(page)
  }

  unreserve(page: Page): void {
    page.reserved--
    this.changed(page)
  }

  release(page: Page): void {
    if (page.frame === undefined) return
    this.frames.free(page.frame)
    page.frame = undefined
    this.resident.delete(page)
    this.reclaimable.delete(page)
    this.forgetDirty(page)
  }

  /**
   * Call it after each write, cleaning, pin, unpin, fault and end of a fault of the page. Returns true if the page can
   * be dropped now.
   */
  changed(page: Page): boolean {
    if (!isWriteable(page)) this.forgetDirty(page)
    else if (!this.dirty.has(page)) {
      this.dirty.add(page)
      this.dirtyBytes += page.pageSize
    }
    if (!page.isReclaimable) {
      this.reclaimable.delete(page)
      return false
    }
    this.reclaimable.add(page)
    return true
  }

  /**
   * Whether waiting cannot help: `count` consecutive frames cannot be found even if every page goes that is not held.
   */
  isFullFor(pageSize: number, count: number): boolean {
    // One frame is the common case: any page of this size that is not held decides it.
    if (count === 1) for (const page of this.resident) if (!page.isHeld && page.pageSize === pageSize) return false
    const droppable = new Set<Frame>()
    for (const page of this.resident) if (!page.isHeld) droppable.add(page.frame!)
    return !this.frames.couldAllocateRun(pageSize, count, (frame) => droppable.has(frame))
  }

  private forgetDirty(page: Page): void {
    if (this.dirty.delete(page)) this.dirtyBytes -= page.pageSize
  }

  private victim(): Page | undefined {
    for (const page of this.reclaimable) {
      // Accessed since the hand last came by: the page gets a second chance, behind all others.
      if (!page.takeAccessed()) return page
      this.reclaimable.delete(page)
      this.reclaimable.add(page)
    }
    return undefined
  }
}

/** The pages' frames follow one another in memory. */
export function isContiguous(pages: readonly Page[]): boolean {
  const first = pages[0]?.frame?.bytes
  if (first === undefined) return false
  return pages.every(({ frame }, i) => {
    if (frame === undefined || frame.bytes.buffer !== first.buffer) return false
    return frame.bytes.byteOffset === first.byteOffset + i * first.length
  })
}

/** The page has dirty bytes, and no writeback of them has begun or is queued. */
function isWriteable(page: Page): boolean {
  return page.frame !== undefined && page.dirty && !page.pinned && !page.writing && !page.queuedForWrite
}
