import { assert, CorruptionError, raftEntryBytes } from '@quire/protocol'
import type { Entry } from '../core/types.js'
import type { SegmentBase } from './segment-base.js'
import { inspectBatch } from './batch.js'
import type { Segment } from './segment.js'
import type { SegmentFiles } from './segment-files.js'

/** Where entries `first` to `last` are: in one batch. */
interface Extent {
  readonly first: number
  last: number
  readonly segment: Segment
  readonly offset: number
  readonly bytes: number
  readonly batch: number
}

/**
 * Finds the log's entries: the newest ones in memory, the others on disk.
 *
 * Its memory grows with batches and terms, not with entries, and shrinks when the log is compacted.
 */
export class LogIndex {
  /** Index of the entry before the first one. */
  private prev = 0
  private last = 0
  private extents: Extent[] = []
  private extentBytes = 0
  /** Where each term begins. The first term began at `prev` or earlier. */
  private terms: { index: number; term: number }[] = [{ index: 0, term: 0 }]
  /** The configuration in force at `prev`, if there is one, and every later one. */
  private configs: Entry[] = []
  /** The newest entries. Those before `cacheStart` in the array are evicted. */
  private cache: (Entry | undefined)[] = []
  private cacheStart = 0
  private cachedBytes = 0
  /** The batch that was decoded last: a follower that catches up reads one batch in several pieces. */
  private decoded: { extent: Extent; entries: readonly Entry[] } | undefined

  constructor(
    private readonly cacheBytes: number,
    private readonly files: SegmentFiles
  ) {}

  get firstIndex(): number {
    return this.prev + 1
  }

  get lastIndex(): number {
    return this.last
  }

  /** Bytes of the batches that hold the entries. */
  get bytes(): number {
    return this.extentBytes
  }

  get configurations(): readonly Entry[] {
    return this.configs.slice()
  }

  /** The newest configuration at or before `index`. */
  configurationAt(index: number): Entry | undefined {
    return this.configs[lastWhere(this.configs, (config) => config.index <= index)]
  }

  /** Starts anew, empty, after the base. */
  restart({ prevIndex, prevTerm, configuration }: Omit<SegmentBase, 'hardState' | 'reset'>): void {
    this.prev = prevIndex
    this.last = prevIndex
    this.extents = []
    this.extentBytes = 0
    this.terms = [{ index: prevIndex, term: prevTerm }]
    this.configs = configuration === undefined ? [] : [copyOf(configuration)]
    this.cache = []
    this.cacheStart = 0
    this.cachedBytes = 0
    this.decoded = undefined
  }

  /**
   * Copies the cached entries. After recovery they are views of whole segments, which would stay in memory with them.
   */
  copyCached(): void {
    this.cache = this.cache.map((entry) => entry && copyOf(entry))
  }

  /** Adds the entries of a durable batch. They replace everything from the first one's index on. */
  add(entries: readonly Entry[], segment: Segment, offset: number, bytes: number, batch: number): void {
    if (entries.length === 0) return
    const first = entries[0]!.index
    if (first <= this.last) this.truncate(first)
    for (const entry of entries) {
      assert(entry.index === this.last + 1, `entry ${entry.index} after ${this.last}`)
      this.push(entry)
    }
    this.extents.push({ first, last: this.last, segment, offset, bytes, batch })
    this.extentBytes += bytes
    this.evict()
  }

  /** The last index after which batches take `bytes` at least. */
  indexBefore(bytes: number): number {
    let index = this.last
    let kept = 0
    for (let at = this.extents.length - 1; at >= 0 && kept < bytes; at--) {
      const extent = this.extents[at]!
      kept += extent.bytes
      index = extent.first - 1
    }
    return index
  }

  /** Forgets every segment before `segment`. */
  dropBefore({ number, firstIndex }: Segment): void {
    const prev = firstIndex - 1
    assert(
      prev >= this.prev && prev <= this.last,
      `cannot drop up to ${prev}: the log is ${this.firstIndex}..${this.last}`
    )
    this.prev = prev
    this.decoded = undefined
    const dropped = this.extents.splice(0, lastWhere(this.extents, (extent) => extent.segment.number < number) + 1)
    for (const { bytes } of dropped) this.extentBytes -= bytes
    this.terms.splice(
      0,
      lastWhere(this.terms, (run) => run.index <= prev)
    )
    // The configuration in force at `prev` stays.
    this.configs.splice(
      0,
      Math.max(
        0,
        lastWhere(this.configs, (config) => config.index <= prev)
      )
    )
    while (this.cache.length - this.cacheStart > this.last - prev) this.evictFirst()
    this.trimCache()
  }

  term(index: number): number | undefined {
    if (index < this.prev || index > this.last) return undefined
    return this.terms[lastWhere(this.terms, (run) => run.index <= index)]!.term
  }

  /** Entries from `lo` up to but not including `hi`. Empty if the first one's segment cannot be opened now. */
  entries(lo: number, hi: number, maxBytes: number): Entry[] {
    assert(
      lo >= this.firstIndex && hi <= this.last + 1 && lo < hi,
      `entries ${lo}..${hi} of ${this.firstIndex}..${this.last}`
    )
    const found: Entry[] = []
    let bytes = 0
    for (let index = lo; index < hi; index++) {
      const entry = this.cached(index) ?? this.stored(index)
      if (entry === undefined) break
      bytes += raftEntryBytes(entry)
      if (bytes > maxBytes && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  private push(entry: Entry): void {
    this.last = entry.index
    if (this.terms.at(-1)!.term !== entry.term) this.terms.push({ index: entry.index, term: entry.term })
    if (entry.kind === 'config') this.configs.push(copyOf(entry))
    this.cache.push(entry)
    this.cachedBytes += raftEntryBytes(entry)
  }

  private truncate(index: number): void {
    assert(index >= this.firstIndex, `truncate to ${index}, the log starts at ${this.firstIndex}`)
    this.decoded = undefined
    for (let i = this.last; i >= index && this.cache.length > this.cacheStart; i--) {
      this.cachedBytes -= raftEntryBytes(this.cache.pop()!)
    }
    this.last = index - 1
    while (this.terms.at(-1)!.index >= index) this.terms.pop()
    while ((this.configs.at(-1)?.index ?? 0) >= index) this.configs.pop()
    while ((this.extents.at(-1)?.first ?? 0) >= index) this.extentBytes -= this.extents.pop()!.bytes
    const extent = this.extents.at(-1)
    if (extent !== undefined) extent.last = Math.min(extent.last, this.last)
  }

  private evict(): void {
    while (this.cachedBytes > this.cacheBytes && this.cacheStart < this.cache.length) this.evictFirst()
    this.trimCache()
  }

  private evictFirst(): void {
    this.cachedBytes -= raftEntryBytes(this.cache[this.cacheStart]!)
    this.cache[this.cacheStart++] = undefined
  }

  private trimCache(): void {
    if (this.cacheStart <= 1024 || this.cacheStart * 2 <= this.cache.length) return
    this.cache = this.cache.slice(this.cacheStart)
    this.cacheStart = 0
  }

  private cached(index: number): Entry | undefined {
    return this.cache[this.cache.length - 1 - (this.last - index)]
  }

  private stored(index: number): Entry | undefined {
    const extent = this.extents[lastWhere(this.extents, (each) => each.first <= index)]
    assert(extent !== undefined && extent.last >= index, `entry ${index} has no place`)
    if (this.decoded?.extent !== extent) {
      const bytes = this.files.bytes(extent.segment, extent.offset, extent.bytes)
      if (bytes === undefined) return undefined
      this.decoded = { extent, entries: decodeExtent(extent, bytes) }
    }
    return this.decoded.entries[index - extent.first]
  }
}

function decodeExtent({ segment, offset, batch }: Extent, bytes: Uint8Array): readonly Entry[] {
  const verdict = inspectBatch(bytes, batch)
  if (verdict.kind === 'whole') return verdict.content.entries
  const reason = verdict.kind === 'damaged' ? verdict.reason : 'batch has missing sectors'
  throw new CorruptionError(segment.name, offset, reason)
}

/** Copies the data: a view would keep a whole segment's bytes in memory for as long as the configuration lives. */
function copyOf(entry: Entry): Entry {
  return { ...entry, data: entry.data.slice() }
}

/** Position of the last item that passes `test`, where a prefix of the items passes; -1 if none does. */
function lastWhere<T>(items: readonly T[], test: (item: T) => boolean): number {
  let low = -1
  let high = items.length - 1
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (test(items[middle]!)) low = middle
    else high = middle - 1
  }
  return low
}
