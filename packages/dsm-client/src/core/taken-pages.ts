/** A page and how often others have taken it: `taken` times at least. */
export interface TakenPage {
  readonly file: number
  readonly page: number
  readonly taken: number
}

interface Counter {
  readonly file: number
  readonly page: number
  count: number
  /** By how much `count` may be too high: the counter took the place of one with this count. */
  readonly excess: number
}

/** Number of pages with a counter. */
const COUNTERS = 64

/**
 * Finds the pages that others take most often, in little memory however many pages there are.
 *
 * It is the algorithm Space-Saving (Metwally et al., "Efficient Computation of Frequent and Top-k Elements in Data
 * Streams", 2005): a page without a counter takes over the lowest one. A page with more than one in `COUNTERS` of all
 * losses certainly has a counter.
 */
export class TakenPages {
  private readonly counters = new Map<string, Counter>()

  add(file: number, page: number): void {
    const key = `${file}/${page}`
    const counter = this.counters.get(key)
    if (counter !== undefined) {
      counter.count++
      return
    }
    const excess = this.counters.size < COUNTERS ? 0 : this.removeLowest()
    this.counters.set(key, { file, page, count: excess + 1, excess })
  }

  /** The pages of these files that were taken most often, more than once each, in descending order. */
  top(limit: number, files: { has(file: number): boolean }): TakenPage[] {
    return [...this.counters.values()]
      .map(({ file, page, count, excess }) => ({ file, page, taken: count - excess }))
      .filter(({ file, taken }) => taken > 1 && files.has(file))
      .sort((a, b) => b.taken - a.taken || a.file - b.file || a.page - b.page)
      .slice(0, limit)
  }

  /** Returns the count of the lowest counter, which is gone. */
  private removeLowest(): number {
    let lowest: readonly [string, Counter] | undefined
    for (const entry of this.counters) if (lowest === undefined || entry[1].count < lowest[1].count) lowest = entry
    this.counters.delete(lowest![0])
    return lowest![1].count
  }
}
