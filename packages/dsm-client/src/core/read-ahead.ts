/**
 * Finds the streams in a program's reads, and decides which pages to get before it reads them (kernel: mm/readahead.c).
 *
 * A stream is a row of reads at one distance: forwards, backwards, or with gaps. Each mapping has one of its own, so
 * two scanners of one file share nothing but the pages.
 */

export type ReadPattern = 'normal' | 'sequential' | 'random'

/** Pages from `first` up to but without `end`. */
export interface PageRun {
  readonly first: number
  readonly end: number
}

/** Hears what becomes of pages that were read ahead. */
export interface ReadAheadObserver {
  /** The program has read the page. */
  used(): void
  /** The page has gone before the program read it. */
  wasted(): void
}

const FIRST_WINDOW = 4
/** Without news of its pages, the limit grows by one page in so many reads of a stream. */
const RECOVERY_READS = 16
const NOTHING: readonly PageRun[] = []

/** Follows the reads of one mapping. */
export class ReadAhead implements ReadAheadObserver {
  pattern: ReadPattern = 'normal'
  private first = -1
  private end = -1
  /** Pages from one read to the next; 0: unknown. */
  private distance = 0
  /** Reads in a row with this distance. */
  private reads = 0
  /** How many pages to be ahead of the program. */
  private window = 0
  /** How many reads ahead of the program the pages have been asked for. */
  private ahead = 0
  /** The window grows up to here. It shrinks by half for each wasted page, and grows by one for each used one. */
  private limit: number

  constructor(private readonly maxPages: number) {
    this.limit = maxPages
  }

  /** The program reads the pages from `first` up to but without `end`. Returns the pages to get now. */
  read(first: number, end: number): readonly PageRun[] {
    // Several reads within the same pages count as one.
    if (first >= this.first && end <= this.end) return NOTHING
    const distance = this.first < 0 ? 0 : first - this.first
    this.reads = distance === this.distance ? this.reads + 1 : 0
    if (this.reads === 0) {
      this.window = 0
      this.ahead = 0
    }
    this.first = first
    this.end = end
    this.distance = distance
    this.ahead = Math.max(0, this.ahead - 1)
    return this.isStream() ? this.next() : NOTHING
  }

  /** There is no room now for the pages from `page` on, of those that `read` has returned. Later reads ask again. */
  stopped(page: number): void {
    const { first, end, distance, ahead } = this
    // A backward stream asks for its farthest pages first, so the near ones are missing.
    const complete =
      distance <= 0 ? 0 : this.isDense ? Math.floor((page - end) / distance) : Math.floor((page - first) / distance) - 1
    this.ahead = Math.min(ahead, Math.max(0, complete))
    // It grows again from here when there is room.
    this.window = this.ahead * (this.isDense ? Math.abs(distance) : end - first)
  }

  used(): void {
    this.limit = Math.min(this.maxPages, Math.floor(this.limit) + 1)
  }

  wasted(): void {
    this.limit = this.limit < 1 ? 0 : this.limit / 2
  }

  /** A read right behind another one makes a stream. Other distances have to repeat, because they may be chance. */
  private isStream(): boolean {
    if (this.pattern === 'random' || this.distance === 0) return false
    return this.reads > 0 || (this.distance > 0 && this.isDense)
  }

  /** There are no gaps between the reads. */
  private get isDense(): boolean {
    return Math.abs(this.distance) <= this.end - this.first
  }

  private next(): readonly PageRun[] {
    this.limit = Math.min(this.maxPages, this.limit + 1 / RECOVERY_READS)
    const count = this.end - this.first
    const perRead = this.isDense ? Math.abs(this.distance) : count
    // Asks again when half of the window is left, so that the pages arrive before the program needs them.
    if (this.ahead * perRead > this.window / 2) return NOTHING
    const grown = this.pattern === 'sequential' ? this.maxPages : Math.max(FIRST_WINDOW, 2 * count, 2 * this.window)
    this.window = Math.min(grown, Math.floor(this.limit))
    const until = Math.floor(this.window / perRead)
    if (until <= this.ahead) return NOTHING
    const runs = this.isDense ? [this.denseRun(until)] : this.sparseRuns(until)
    this.ahead = until
    return runs.filter(({ first, end }) => first < end)
  }

  private denseRun(until: number): PageRun {
    const { first, end, distance, ahead } = this
    return distance > 0
      ? { first: end + ahead * distance, end: end + until * distance }
      : { first: Math.max(0, first + until * distance), end: Math.max(0, first + ahead * distance) }
  }

  private sparseRuns(until: number): PageRun[] {
    const runs: PageRun[] = []
    for (let read = this.ahead + 1; read <= until; read++) {
      const offset = read * this.distance
      if (this.first + offset >= 0) runs.push({ first: this.first + offset, end: this.end + offset })
    }
    return runs
  }
}
