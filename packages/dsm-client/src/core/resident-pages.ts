import { assert } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Frame, FrameProvider } from './frames.js'
import type { Page } from './page.js'

/**
 * Frames for pages. Knows which pages can be dropped for nothing (in the order in which a second-chance hand looks at them;
 * kernel: the inactive list) and which could be after a writeback, so that finding one does not mean looking at all.
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

  /** More than half of the frames hold bytes that nobody has begun to write back. */
  get isMostlyDirty(): boolean {
    return this.dirtyBytes * 2 > this.frames.capacityBytes
  }

  /** Up to `count` pages to write back, those first that have been dirty longest. */
  takeDirty(count: number): Page[] {
    const taken: Page[] = []
    for (const page of this.dirty) {
      if (taken.length === count) break
      this.forgetDirty(page)
      if (isWriteable(page)) taken.push(page)
    }
    return taken
  }

  /** Gives `page` a frame, taking one from a page that `evict` drops if need be. False: none can be had now. */
  place(page: Page, neighbours: AddressSpacePages, evict: (victim: Page) => void): boolean {
    if (page.frame !== undefined) return true
    const allocate = () => {
      const before = neighbours.get(page.index - 1)?.frame
      if (before !== undefined) return this.frames.allocate(page.pageSize, before, 1)
      return this.frames.allocate(page.pageSize, neighbours.get(page.index + 1)?.frame, -1)
    }
    page.frame = this.make(allocate, evict)
    if (page.frame === undefined) return false
    this.resident.add(page)
    return true
  }

  /** What `allocate` gives, once enough pages are dropped for it. */
  private make<T>(allocate: () => T | undefined, evict: (victim: Page) => void): T | undefined {
    for (;;) {
      const made = allocate()
      if (made !== undefined) return made
      const victim = this.victim()
      if (victim === undefined) return undefined
      evict(victim)
    }
  }

  /** Frames that follow one another, belong to no page and stay until they are released. */
  takeAnonymous(pageSize: number, count: number, evict: (victim: Page) => void): readonly Frame[] | undefined {
    return this.make(() => this.frames.allocateRun(pageSize, count), evict)
  }

  releaseAnonymous(frame: Frame): void {
    this.frames.free(frame)
  }

  /**
   * Puts neighbouring pages next to each other in memory; those that have bytes take them along. `conflict`: one is held elsewhere;
   * `noRoom`: there is no such place now.
   */
  layOut(pages: readonly Page[], evict: (victim: Page) => void): 'done' | 'conflict' | 'noRoom' {
    if (isContiguous(pages)) return 'done'
    if (pages.some((page) => page.isHeld)) return 'conflict'
    const { pageSize } = pages[0]!
    // Not those of the range itself.
    for (const page of pages) this.reserve(page)
    const run = this.make(() => this.frames.allocateRun(pageSize, pages.length), evict)
    for (const page of pages) this.unreserve(page)
    if (run === undefined) return this.compact(pages) ? 'done' : 'noRoom'
    for (const [i, page] of pages.entries()) {
      const frame = run[i]!
      if (page.frame !== undefined) {
        frame.bytes.set(page.frame.bytes)
        this.frames.free(page.frame)
      }
      this.assign(page, frame)
    }
    return 'done'
  }

  /**
   * Puts the pages into a place that they partly occupy themselves. Without this, their pin would wait for room that
   * only it can make. The bytes are set aside meanwhile, so this copies twice. False: there is no such place.
   */
  private compact(pages: readonly Page[]): boolean {
    const { pageSize } = pages[0]!
    const own = new Set(pages.map(({ frame }) => frame).filter((frame) => frame !== undefined))
    if (own.size === 0 || !this.frames.couldAllocateRun(pageSize, pages.length, (frame) => own.has(frame))) return false
    const contents = pages.map(({ frame }) => frame?.bytes.slice())
    for (const frame of own) this.frames.free(frame)
    const run = this.frames.allocateRun(pageSize, pages.length)
    assert(run !== undefined, `${pages.length} frames of ${pageSize} bytes were to be had, and are not`)
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

  /** The page's frame stays where it is until `unreserve`. */
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

  /** Call it when a page was written to or cleaned, pinned or unpinned, or its fault began or ended. True: a frame can be had now. */
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

  /** Whether waiting cannot help: so many frames that follow one another are not to be had, even without all that could be dropped. */
  isFullFor(pageSize: number, count: number): boolean {
    // One frame is the common case, and the first page that could go tells.
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
      if (!page.accessed) return page
      // Touched since the hand last came by: it gets a second chance, behind all others.
      page.accessed = false
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

/** Has bytes to write back that are not on their way. */
function isWriteable(page: Page): boolean {
  return page.frame !== undefined && page.dirty && !page.pinned && !page.writing && !page.queuedForWrite
}
