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
    this.pages.delete(page.index)
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

/** Frames for pages, with second-chance replacement (kernel: the inactive list) of pages that can be dropped for nothing. */
export class ResidentPages {
  /** In the order in which the hand will look at them. */
  private readonly resident = new Set<Page>()

  constructor(private readonly frames: FrameProvider) {}

  get capacityBytes(): number {
    return this.frames.capacityBytes
  }

  get usedBytes(): number {
    return this.frames.usedBytes
  }

  /** Gives `page` a frame, taking one from a page that `evict` may drop if need be. False: none can be had now. */
  place(page: Page, neighbours: AddressSpacePages, evict: (victim: Page) => void): boolean {
    if (page.frame !== undefined) return true
    const allocate = () => {
      const before = neighbours.get(page.index - 1)?.frame
      if (before !== undefined) return this.frames.allocate(page.pageSize, before, 1)
      return this.frames.allocate(page.pageSize, neighbours.get(page.index + 1)?.frame, -1)
    }
    page.frame = allocate()
    while (page.frame === undefined && this.evictOne(evict)) page.frame = allocate()
    if (page.frame === undefined) return false
    this.resident.add(page)
    return true
  }

  release(page: Page): void {
    if (page.frame === undefined) return
    this.frames.free(page.frame)
    page.frame = undefined
    this.resident.delete(page)
  }

  /** Up to `count` pages whose bytes must be written back before their frames can be used again. */
  dirtyPages(count: number): Page[] {
    const found: Page[] = []
    for (const page of this.resident) {
      if (found.length === count) break
      if (page.dirty && !page.pinned && !page.writing && !page.queuedForWrite) found.push(page)
    }
    return found
  }

  /** Whether waiting cannot help: every frame is pinned. */
  get allPinned(): boolean {
    for (const page of this.resident) if (!page.pinned) return false
    return true
  }

  private evictOne(evict: (victim: Page) => void): boolean {
    // Once round to take the marks away, once more to find a victim.
    for (let looks = this.resident.size * 2; looks > 0; looks--) {
      const page = this.resident.values().next().value!
      this.resident.delete(page)
      if (page.isReclaimable && !page.accessed) {
        this.resident.add(page)
        evict(page)
        return true
      }
      page.accessed = false
      this.resident.add(page)
    }
    return false
  }
}
