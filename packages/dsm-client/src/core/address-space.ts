/** One client's pages of one file (kernel: struct address_space). */
import type { Unit } from '@quire/protocol'
import type { FrameProvider } from './frames.js'
import { Page } from './page.js'

/** A range of pages that the cluster is about to discard (docs/coherence.md, "Files that shrink"). */
export interface PendingDiscard {
  /** Of the leader that ordered it: operations are numbered anew in each. */
  readonly term: number
  readonly op: number
  readonly first: number
  readonly end: number
  /** The file's, when the discard is committed. */
  readonly discards: number
  acknowledged: boolean
  /** The connection that the order came on is gone. */
  isStale: boolean
  /** Pages whose bytes were granted after its end, of which `discarded` has not come yet: not what goes. */
  readonly renewed: Set<Page>
  /** What takes away the private copies that were there when it was acknowledged. */
  readonly doomed: (() => void)[]
}

/** The copies of pages that one private mapping holds, as far as a discard concerns them. Ranges run up to but without `end`. */
export interface DiscardableCopies {
  /** Returns how many of the `count` pages from `first` on have a copy. */
  count(first: number, count: number): number
  /** Returns a function that discards the copies that are there now; the mapping keeps the copies that it makes later. */
  mark(first: number, end: number): () => void
  discard(first: number, end: number): void
}

export interface AddressSpaceInit {
  readonly file: number
  readonly path: string
  readonly pageSize: number
  readonly unit?: Unit
  /** Bytes. */
  readonly size?: number
}

export class AddressSpacePages {
  readonly file: number
  /** What errors call it. */
  path: string
  readonly pageSize: number
  readonly unit: Unit
  /** A lower bound of the file's size: what lies below it needs no question. */
  size: number
  discard: PendingDiscard | undefined
  /** Orders to discard that have come. */
  discardsSeen = 0
  /** The newest discard of this leader that was heard of. */
  lastDiscard = 0
  /** Of a file that is owned as a whole: the leader's order to give it up; its epoch, and the newest writeback under that. */
  demotion: { readonly op: number } | undefined
  epoch = 0
  seq = 0
  /** Of a file that is owned as a whole: the leader did not take what was written back for its order. */
  isRefused = false
  /** One for each private mapping of this file. */
  readonly privateCopies = new Set<DiscardableCopies>()
  private readonly pages = new Map<number, Page>()

  constructor(
    { file, path, pageSize, unit = 'page', size = 0 }: AddressSpaceInit,
    private readonly memory: Pick<FrameProvider, 'protect'>
  ) {
    this.file = file
    this.path = path
    this.pageSize = pageSize
    this.unit = unit
    this.size = size
  }

  get(index: number): Page | undefined {
    return this.pages.get(index)
  }

  getOrCreate(index: number): Page {
    let page = this.pages.get(index)
    if (page === undefined) {
      page = new Page(this.file, index, this.pageSize, this.memory)
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

  /** Pages with an entry from `first` up to but without `end`, in ascending order. */
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

  /** The page, or all of its file, is to be given up: no new pins. */
  isLeaving(index: number): boolean {
    return this.demotion !== undefined || this.isDiscarded(index)
  }

  /** The page is in the range of a discard that is not over, as far as is known here. */
  isDiscarded(index: number): boolean {
    return this.discard !== undefined && index >= this.discard.first && index < this.discard.end
  }

  /** Whether the page is gone is not known since the connection broke: what would be granted now could not be told from what goes. */
  isUncertain(index: number): boolean {
    return this.discard?.isStale === true && this.isDiscarded(index)
  }
}
