/** One client's pages of one file (kernel: struct address_space), and all of a session's together. */
import type { FrameProvider } from './frames.js'
import { Page } from './page.js'

export class AddressSpacePages {
  private readonly pages = new Map<number, Page>()

  constructor(
    readonly file: number,
    readonly path: string,
    readonly pageSize: number
  ) {}

  get(index: number): Page | undefined {
    return this.pages.get(index)
  }

  getOrCreate(index: number): Page {
    let page = this.pages.get(index)
    if (page === undefined) {
      page = new Page(this.file, index, this.pageSize)
      this.pages.set(index, page)
    }
    return page
  }

  delete(page: Page): void {
    // A page whose file was given up may still be pinned when the file is open again.
    if (this.pages.get(page.index) === page) this.pages.delete(page.index)
  }

  all(): Iterable<Page> {
    return this.pages.values()
  }

  /** Pages with an entry from `first` to `last`, in ascending order where the range is short. */
  *between(first: number, last: number): Iterable<Page> {
    if (last - first < this.pages.size) {
      for (let index = first; index <= last; index++) {
        const page = this.pages.get(index)
        if (page !== undefined) yield page
      }
      return
    }
    for (const page of this.pages.values()) if (page.index >= first && page.index <= last) yield page
  }
}

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
    page.frame = allocate()
    while (page.frame === undefined) {
      const victim = this.victim()
      if (victim === undefined) return false
      evict(victim)
      page.frame = allocate()
    }
    this.resident.add(page)
    return true
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

  /** Whether waiting cannot help: every frame is pinned. */
  get allPinned(): boolean {
    for (const page of this.resident) if (!page.pinned) return false
    return true
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

/** Has bytes to write back that are not on their way. */
function isWriteable(page: Page): boolean {
  return page.frame !== undefined && page.dirty && !page.pinned && !page.writing && !page.queuedForWrite
}
