/** Ranges that a program unmaps or evicts (kernel: unmap_mapping_range, invalidate_inode_pages2_range). */
import type { Page } from './page.js'

export interface PageRangesInit {
  /** Makes pins in the making give the page back to another access that needs it. */
  readonly giveWay: (page: Page) => void
  readonly dropFault: (page: Page) => void
  /** See `PageBackend`. */
  readonly backend: { unmapped?(page: Page): void; released(page: Page): void }
  readonly accessReduced: (page: Page) => void
  readonly resumePins: () => void
  readonly drop: (page: Page) => void
}

/** Takes pages away from accesses at the program's own request. */
export class PageRanges {
  constructor(private readonly init: PageRangesInit) {}

  /** Makes the next access fault again. Dirty bytes stay, and a pinned page keeps its access. */
  unmap(page: Page): void {
    if (page.pinned) return
    page.invalidate()
    this.init.backend.unmapped?.(page)
    this.init.accessReduced(page)
  }

  /** From here until `endEviction`, only the pins that hold the page have access to it. */
  beginEviction(page: Page): void {
    const { giveWay, dropFault, backend } = this.init
    page.evicting++
    giveWay(page)
    dropFault(page)
    this.unmap(page)
    // A demotion that follows the grant of that fault has nothing left to wait for.
    backend.released(page)
  }

  /** Drops the page, unless a pin from before the eviction wrote to it or still holds it. */
  evictIfClean(page: Page): void {
    if (page.dirty || page.isHeld || page.demotion !== undefined) return
    this.init.drop(page)
  }

  /** Lets the accesses that came meanwhile look at the page again. */
  endEviction(page: Page): void {
    page.evicting--
    if (page.evicting > 0) return
    this.init.accessReduced(page)
    this.init.resumePins()
  }
}
