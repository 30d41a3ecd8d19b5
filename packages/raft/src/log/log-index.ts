import { assert, CorruptionError, raftEntryBytes } from '@quire/protocol'
import type { Entry } from '../core/types.js'
import { inspectBatch } from './batch.js'
import type { Segment } from './segment.js'

/** Where entries `first` to `last` stand: all in one batch. */
interface Extent {
  readonly first: number
  last: number
  readonly segment: Segment
  readonly offset: number
  readonly bytes: number
  readonly batch: number
}

/** Finds entries: the log's end in memory, the rest on disk. Memory grows with batches and terms, not with entries. */
export class LogIndex {
  readonly firstIndex = 1
  private extents: Extent[] = []
  /** Where each term begins. */
  private readonly terms: { index: number; term: number }[] = []
  private readonly configs: Entry[] = []
  /** The last entries, from `cacheFirst` on; those before `cacheStart` in the array are gone. */
  private cache: (Entry | undefined)[] = []
  private cacheStart = 0
  private cachedBytes = 0
  private last = 0
  /** A follower that catches up reads one batch in several pieces. */
  private decoded: { extent: Extent; entries: Entry[] } | undefined

  constructor(private readonly cacheBytes: number) {}

  get lastIndex(): number {
    return this.last
  }

  get configurations(): readonly Entry[] {
    return this.configs
  }

  /** Takes the entries of a durable batch, in the order of writing. */
  add(entries: readonly Entry[], segment: Segment, offset: number, bytes: number, batch: number): void {
    if (entries.length === 0) return
    let first = entries[0]!.index
    for (const entry of entries) {
      if (entry.index <= this.last) {
        this.truncate(entry.index)
        first = Math.min(first, entry.index)
      }
      assert(entry.index === this.last + 1, `entry ${entry.index} after ${this.last}`)
      this.push(entry)
    }
    this.extents.push({ first, last: this.last, segment, offset, bytes, batch })
    this.evict()
  }

  term(index: number): number | undefined {
    if (index < this.firstIndex || index > this.last) return undefined
    return this.terms[lastWhere(this.terms, (run) => run.index <= index)]!.term
  }

  entries(lo: number, hi: number, maxBytes: number): Entry[] {
    assert(
      lo >= this.firstIndex && hi <= this.last + 1 && lo < hi,
      `entries ${lo}..${hi} of ${this.firstIndex}..${this.last}`
    )
    const found: Entry[] = []
    let bytes = 0
    for (let index = lo; index < hi; index++) {
      const entry = this.cached(index) ?? this.stored(index)
      bytes += raftEntryBytes(entry)
      if (bytes > maxBytes && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  private push(entry: Entry): void {
    this.last = entry.index
    if (this.terms.at(-1)?.term !== entry.term) this.terms.push({ index: entry.index, term: entry.term })
    // A view of a whole segment's bytes must not live as long as a configuration.
    if (entry.kind === 'config') this.configs.push({ ...entry, data: entry.data.slice() })
    this.cache.push(entry)
    this.cachedBytes += raftEntryBytes(entry)
  }

  private truncate(index: number): void {
    this.decoded = undefined
    for (let i = this.last; i >= index && this.cache.length > this.cacheStart; i--) {
      this.cachedBytes -= raftEntryBytes(this.cache.pop()!)
    }
    this.last = index - 1
    while ((this.terms.at(-1)?.index ?? 0) >= index) this.terms.pop()
    while ((this.configs.at(-1)?.index ?? 0) >= index) this.configs.pop()
    while ((this.extents.at(-1)?.first ?? 0) >= index) this.extents.pop()
    const extent = this.extents.at(-1)
    if (extent !== undefined) extent.last = Math.min(extent.last, this.last)
  }

  private evict(): void {
    while (this.cachedBytes > this.cacheBytes && this.cacheStart < this.cache.length) {
      this.cachedBytes -= raftEntryBytes(this.cache[this.cacheStart]!)
      this.cache[this.cacheStart++] = undefined
    }
    if (this.cacheStart > 1024 && this.cacheStart * 2 > this.cache.length) {
      this.cache = this.cache.slice(this.cacheStart)
      this.cacheStart = 0
    }
  }

  private cached(index: number): Entry | undefined {
    return this.cache[this.cache.length - 1 - (this.last - index)]
  }

  private stored(index: number): Entry {
    const extent = this.extents[lastWhere(this.extents, (each) => each.first <= index)]
    assert(extent !== undefined && extent.last >= index, `entry ${index} has no place`)
    if (this.decoded?.extent !== extent) this.decoded = { extent, entries: readExtent(extent) }
    return this.decoded.entries[index - extent.first]!
  }
}

function readExtent({ first, last, segment, offset, bytes, batch }: Extent): Entry[] {
  const verdict = inspectBatch(segment.file.read(offset, bytes), batch)
  if (verdict.kind !== 'whole') {
    throw new CorruptionError(
      segment.name,
      offset,
      verdict.kind === 'damaged' ? verdict.reason : 'batch has missing sectors'
    )
  }
  const entries: Entry[] = []
  // Within a batch, too, a later entry replaces an earlier one.
  for (const entry of verdict.content.entries) {
    if (entry.index >= first && entry.index <= last) entries[entry.index - first] = entry
  }
  return entries
}

/** Position of the last item for which `test` holds, when it holds for a beginning of the items; -1 for none. */
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
