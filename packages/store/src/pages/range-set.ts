export interface Range {
  readonly first: number
  /** The first number after the range. */
  readonly end: number
}

/**
 * A set of whole numbers that stores ranges.
 *
 * The ranges neither overlap nor touch, so memory and time depend on the number of ranges and not on their length.
 */
export class RangeSet {
  /** In ascending order. */
  private ranges: Range[] = []

  /** Number of ranges. */
  get size(): number {
    return this.ranges.length
  }

  add(first: number, end: number): void {
    if (first >= end) return
    // The new range absorbs each range that it overlaps or touches.
    const from = this.firstEndingFrom(first)
    let to = from
    while (to < this.ranges.length && this.ranges[to]!.first <= end) to++
    if (to > from) {
      first = Math.min(first, this.ranges[from]!.first)
      end = Math.max(end, this.ranges[to - 1]!.end)
    }
    this.ranges.splice(from, to - from, { first, end })
  }

  has(value: number): boolean {
    const range = this.ranges[this.firstEndingFrom(value + 1)]
    return range !== undefined && range.first <= value
  }

  [Symbol.iterator](): Iterator<Range> {
    return this.ranges[Symbol.iterator]()
  }

  /** Position of the first range whose end is not below `end`. */
  private firstEndingFrom(end: number): number {
    let low = 0
    let high = this.ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.ranges[middle]!.end < end) low = middle + 1
      else high = middle
    }
    return low
  }
}
