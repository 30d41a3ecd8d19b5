/** Twins: what the cluster has stored of pages that this client owns (docs/coherence.md, Diffs; Munin, 1991). */
import { diffPage, type PageDiff } from '@quire/protocol'
import type { Page } from './page.js'

/** Bytes that the cluster has stored under `epoch` and `seq`, if `isStored`, or gets. */
interface Twin {
  readonly epoch: number
  readonly seq: number
  readonly bytes: Uint8Array
  isStored: boolean
}

/**
 * Keeps the newest twins, up to `maxBytes` of them.
 *
 * A twin is the base of a diff only while it has the page's epoch and sequence. So one that is out of date does no
 * harm: the page leaves whole.
 */
export class Twins {
  /** The least recently used first. */
  private readonly twins = new Map<Page, Twin>()
  private bytes = 0

  constructor(private readonly maxBytes: number) {}

  /** The program is about to write to a page whose bytes are those that the cluster has stored. */
  beforeWrite(page: Page): void {
    if (this.baseOf(page) === undefined) this.set(page, page.frame!.bytes.slice(), true)
  }

  /** A writeback leaves with these bytes, which nobody changes any more. The page has its sequence already. */
  sent(page: Page, bytes: Uint8Array): void {
    this.set(page, bytes, false)
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

  private set(page: Page, bytes: Uint8Array, isStored: boolean): void {
    this.forget(page)
    this.twins.set(page, { epoch: page.epoch, seq: page.seq, bytes, isStored })
    this.bytes += bytes.length
    for (const oldest of this.twins.keys()) {
      if (this.bytes <= this.maxBytes) return
      this.forget(oldest)
    }
  }
}
