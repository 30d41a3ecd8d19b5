/** One client's pages of one file (kernel: struct address_space). */
import type { Unit } from '@quire/protocol'
import type { FrameProvider } from './frames.js'
import { heldUnit, type HeldUnit } from './held-unit.js'
import { Page, type PageMemory } from './page.js'

/** A range of pages that the cluster is discarding (docs/coherence.md, "Files that shrink"). */
export interface PendingDiscard {
  /** Term of the leader that ordered it. Each term numbers its operations anew. */
  readonly term: number
  readonly op: number
  readonly first: number
  readonly end: number
  /** The file's count of discards after this one commits. */
  readonly discards: number
  acknowledged: boolean
  /** The connection that carried the order is gone. */
  isStale: boolean
  /**
   * Pages with bytes that the leader granted after the discard: they stay. The message `discarded` is still to come.
   */
  readonly renewed: Set<Page>
  /** Functions that drop the private copies that existed at the acknowledgment. */
  readonly doomed: (() => void)[]
}

/** The copies of one private mapping, as far as a discard concerns them. Ranges run up to but without `end`. */
export interface DiscardableCopies {
  /** Returns how many of the `count` pages from `first` on have a copy. */
  count(first: number, count: number): number
  /** Returns a function that discards the copies that exist now. Copies that the mapping makes later stay. */
  mark(first: number, end: number): () => void
  discard(first: number, end: number): void
}

export interface AddressSpacePagesInit {
  readonly file: number
  readonly path: string
  readonly pageSize: number
  readonly unit?: Unit
  /** In bytes. */
  readonly size?: number
}

/** Holds the pages of one file. */
export class AddressSpacePages {
  /** Names this object among all address spaces of the client: the file may be open again in a later session. */
  readonly number: number
  readonly file: number
  /** The name of the file in errors. */
  path: string
  readonly pageSize: number
  readonly held: HeldUnit
  /** A lower bound of the file's size. Accesses below it need not ask the leader. */
  size: number
  discard: PendingDiscard | undefined
  /** How many orders to discard have arrived. */
  discardsSeen = 0
  /** The newest discard of this leader that a message has named. */
  lastDiscard = 0
  /** The next three concern a file that is owned as a whole. The leader's order to give it up. */
  demotion: { readonly op: number } | undefined
  epoch = 0
  /** Number of the newest writeback under `epoch`. */
  seq = 0
  /** The leader refused a writeback that its order requires. */
  isRefused = false
  /** One for each private mapping of this file. */
  readonly privateCopies = new Set<DiscardableCopies>()
  private readonly pages = new Map<number, Page>()

  constructor(
    { file, path, pageSize, unit = 'page', size = 0 }: AddressSpacePagesInit,
    private readonly memory: PageMemory & Pick<FrameProvider, 'newSpace'>
  ) {
    this.number = memory.newSpace()
    this.file = file
    this.path = path
    this.pageSize = pageSize
    this.held = heldUnit(unit)
    this.size = size
  }

  get(index: number): Page | undefined {
    return this.pages.get(index)
  }

  getOrCreate(index: number): Page {
    let page = this.pages.get(index)
    if (page === undefined) {
      page = new Page(this.file, index, this.pageSize, this.number, this.memory)
      this.pages.set(index, page)
    }
    return page
  }

  delete(page: Page): void {
    // A page may outlive its file by a pin, and the file may be open again.
    if (this.pages.get(page.index) === page) this.pages.delete(page.index)
  }

  all(): Iterable<Page> {
    return this.pages.values()
  }

  /** Returns the pages that have entries, from `first` up to but without `end`, in ascending order. */
  between(first: number, end: number): Page[] {
    if (end - first < this.pages.size) {
      const found: Page[] = []
      for (let index = first; index < end; index++) {
        const page = this.pages.get(index)
        if (page !== undefined) found.push(page)
      }
      return found
    }
    return [...this.pages.values()]
      .filter(({ index }) => index >= first && index < end)
      .sort((a, b) => a.index - b.index)
  }

  /** The client is giving up the page or its whole file: new pins must wait. */
  isLeaving(index: number): boolean {
    return this.demotion !== undefined || this.isDiscarded(index)
  }

  /** The page is in the range of a discard whose end is not known here. */
  isDiscarded(index: number): boolean {
    return this.discard !== undefined && index >= this.discard.first && index < this.discard.end
  }

  /**
   * The connection broke during a discard of the page. The client cannot tell whether a new grant would be from before
   * or after the discard.
   */
  isUncertain(index: number): boolean {
    return this.discard?.isStale === true && this.isDiscarded(index)
  }
}
