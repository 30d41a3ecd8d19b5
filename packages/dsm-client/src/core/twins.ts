/** Twins: what the cluster has stored of pages that this client owns (docs/coherence.md, Diffs; Munin, 1991). */
import { diffPage, type PageDiff } from '@quire/protocol'
import type { Page } from './page.js'

/** The bytes of writeback `seq` of `epoch`, or of the grant that has these numbers. */
interface Twin {
  readonly epoch: number
  readonly seq: number
  readonly bytes: Uint8Array
  /** The cluster is known to have stored them. */
  isStored: boolean
}

/**
 * Keeps twins, up to `maxBytes` of them. The one that was made first goes first.
 *
 * A twin is the base of a diff only while it has the page's epoch and sequence. So one that is out of date does no
 * harm: the page leaves whole.
 */
export class Twins {
  /** In the order in which they were made. */
  private readonly twins = new Map<Page, Twin>()
  private bytes = 0

  constructor(private readonly maxBytes: number) {}

  /** The program is about to write to a page whose bytes are those that the cluster has stored. */
  beforeWrite(page: Page): void {
    if (page.pageSize > this.maxBytes || this.baseOf(page) !== undefined) return
    this.forget(page)
    for (const oldest of this.twins.keys()) {
      if (this.hasRoom(page)) break
      this.forget(oldest)
    }
    this.add(page, page.frame!.bytes.slice(), true)
  }

  /**
   * A writeback leaves with these bytes, which nobody changes any more. The page has its sequence already. The bytes
   * take the place of the page's former twin, or free room, but not that of another twin, which may be a base.
   */
  sent(page: Page, bytes: Uint8Array): void {
    this.forget(page)
    if (this.hasRoom(page)) this.add(page, bytes, false)
  }

  /** The cluster has stored the bytes of the page's writeback `seq`. */
  stored(page: Page, epoch: number, seq: number): void {
    const twin = this.twins.get(page)
    if (twin?.epoch === epoch && twin.seq === seq) twin.isStored = true
  }

  /** The difference between these bytes of the page and those that the cluster has; undefined if it must get all. */
  diff(page: Page, bytes: Uint8Array): PageDiff | undefined {
    const base = this.baseOf(page)
    return base === undefined ? undefined : diffPage(base, bytes)
  }

  hasBase(page: Page): boolean {
    return this.baseOf(page) !== undefined
  }

  forget(page: Page): void {
    const twin = this.twins.get(page)
    if (twin === undefined) return
    this.twins.delete(page)
    this.bytes -= twin.bytes.length
  }

  private baseOf(page: Page): Uint8Array | undefined {
    const twin = this.twins.get(page)
    return twin?.isStored === true && twin.epoch === page.epoch && twin.seq === page.seq ? twin.bytes : undefined
  }

  private hasRoom({ pageSize }: Page): boolean {
    return this.bytes + pageSize <= this.maxBytes
  }

  private add(page: Page, bytes: Uint8Array, isStored: boolean): void {
    this.twins.set(page, { epoch: page.epoch, seq: page.seq, bytes, isStored })
    this.bytes += bytes.length
  }
}
