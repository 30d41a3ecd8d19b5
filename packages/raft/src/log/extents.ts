import { assert } from '@quire/protocol'
import { lastWhere } from './last-where.js'

/** Where consecutive entries of a segment are: in one batch, or in several that follow each other. */
export interface Extent {
  readonly first: number
  readonly last: number
  /** Offset and number of the first batch. */
  readonly offset: number
  readonly batch: number
  /** Size of the range from the first batch to the end of the last one. */
  readonly bytes: number
  /** Size of the batches that hold the entries. The range may include others, such as those of truncated entries. */
  readonly size: number
}

/** A base lists extents of this size, or of one larger batch: enough to read an entry without reading much more. */
const MERGED_BYTES = 256 * 1024

/**
 * Locates the entries of one segment.
 *
 * Its memory grows with batches, not with entries.
 */
export class Extents {
  private readonly extents: Extent[]
  private totalSize: number

  constructor(extents: readonly Extent[] = []) {
    this.extents = [...extents]
    this.totalSize = extents.reduce((sum, { size }) => sum + size, 0)
  }

  /** Size of the batches that hold entries. A batch counts whole, even if a truncation left only a part of it. */
  get size(): number {
    return this.totalSize
  }

  get last(): number | undefined {
    return this.extents.at(-1)?.last
  }

  newestFirst(): readonly Extent[] {
    return this.extents.toReversed()
  }

  /** Adds a batch. Its entries replace everything from the first one's index on. */
  add(extent: Extent): void {
    this.truncate(extent.first)
    this.extents.push(extent)
    this.totalSize += extent.size
  }

  /** Forgets the entries from `index` on. */
  truncate(index: number): void {
    while ((this.extents.at(-1)?.first ?? 0) >= index) this.totalSize -= this.extents.pop()!.size
    const newest = this.extents.at(-1)
    if (newest !== undefined && newest.last >= index) {
      this.extents[this.extents.length - 1] = { ...newest, last: index - 1 }
    }
  }

  /** Where an entry is. The entry must exist. */
  find(index: number): Extent {
    const extent = this.extents[lastWhere(this.extents, ({ first }) => first <= index)]
    assert(extent !== undefined && extent.last >= index, `entry ${index} has no place`)
    return extent
  }

  /** The extents of the entries up to `lastIndex`, as few as their size allows. */
  merged(lastIndex: number): readonly Extent[] {
    const merged: Extent[] = []
    for (const { first, last: end, ...next } of this.extents) {
      if (first > lastIndex) break
      const last = Math.min(end, lastIndex)
      const before = merged.at(-1)
      const bytes = next.offset + next.bytes - (before?.offset ?? 0)
      if (before === undefined || bytes > MERGED_BYTES) merged.push({ first, last, ...next })
      else merged[merged.length - 1] = { ...before, last, bytes, size: before.size + next.size }
    }
    return merged
  }
}
