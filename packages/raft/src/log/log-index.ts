import { assert, raftEntryBytes } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { EntryCache } from './entry-cache.js'
import { Extents, type Extent } from './extents.js'
import { lastWhere } from './last-where.js'
import { LogHistory } from './log-history.js'
import type { SegmentBase } from './segment-base.js'
import type { SegmentFiles } from './segment-files.js'
import { entriesOf, locateEntries } from './segment-scan.js'
import type { Segment } from './segment.js'

/** A segment with entries of the log: those after `prev`, up to the `prev` of the next part. */
interface Part {
  readonly segment: Segment
  readonly prev: number
  /** The hard state of its base. */
  readonly hardState: HardState
  /** Where the entries are: by batch if this process wrote or read the segment, otherwise as a base tells. */
  extents: Extents
  isExact: boolean
  /** The number of the next segment's first batch, and the hard state of that segment's base. */
  next: { readonly batch: number; readonly hardState: HardState } | undefined
}

/**
 * Finds the log's entries: the newest ones in memory, the others on disk.
 *
 * The base of a segment tells where the entries before it are, so that only the newest segment must be read.
 */
export class LogIndex {
  private last = 0
  /** In the order of the entries: the `prev` of each part is above that of the part before. */
  private readonly parts: Part[] = []
  private readonly history = new LogHistory()
  private readonly cache: EntryCache
  /** The extent that was read last: a follower that catches up reads one in several pieces. */
  private lastRead: { readonly extent: Extent; readonly entries: readonly Entry[] } | undefined

  constructor(
    cacheBytes: number,
    private readonly files: SegmentFiles
  ) {
    this.cache = new EntryCache(cacheBytes)
  }

  get firstIndex(): number {
    return this.prev + 1
  }

  get lastIndex(): number {
    return this.last
  }

  /** Bytes of the batches that hold the entries. */
  get bytes(): number {
    return this.parts.reduce((sum, { extents }) => sum + extents.size, 0)
  }

  get configurations(): readonly Entry[] {
    return this.history.configurations
  }

  /** The newest configuration at or before `index`. */
  configurationAt(index: number): Entry | undefined {
    return this.history.configurationAt(index)
  }

  term(index: number): number | undefined {
    return index < this.prev || index > this.last ? undefined : this.history.term(index)
  }

  /** The segment that holds an entry; undefined if the log holds no entry up to `index`. */
  segmentOf(index: number): Segment | undefined {
    return this.partOf(index)?.segment
  }

  /** The base of a segment that begins after entry `prevIndex`. `hardState` is the newest one in the log. */
  baseAt(prevIndex: number, hardState: HardState): SegmentBase {
    const { history } = this
    const part = this.partOf(prevIndex)
    const before = part && {
      prevIndex: part.prev,
      extents: this.extentsUpTo(part, prevIndex),
      ...history.between(part.prev, prevIndex)
    }
    const configuration = history.configurationAt(prevIndex)
    return { prevIndex, prevTerm: history.term(prevIndex), hardState, configuration, before }
  }

  /**
   * Begins a segment: its base tells which entries before it count. Returns true if none do, so that the log starts
   * with this segment.
   */
  begin(segment: Segment, base: SegmentBase): boolean {
    const { parts } = this
    const { prevIndex, hardState, before } = base
    const newest = parts.at(-1)
    if (newest !== undefined) newest.next = { batch: segment.firstBatch, hardState }
    const holder = this.partOf(prevIndex)
    const isFirst = before === undefined || holder === undefined
    if (isFirst) {
      this.restart(base)
    } else {
      assert(
        holder.prev === before.prevIndex,
        `entry ${prevIndex} is in ${holder.segment.name}, not ${before.prevIndex}`
      )
      this.forget(prevIndex + 1)
      parts.splice(parts.indexOf(holder) + 1)
      if (holder.isExact) holder.extents.truncate(prevIndex + 1)
      else holder.extents = new Extents(before.extents)
      this.history.replaceAfter(holder.prev, before)
      this.last = prevIndex
    }
    parts.push({ segment, prev: prevIndex, hardState, extents: new Extents(), isExact: false, next: undefined })
    return isFirst
  }

  /** Adds the entries of a durable batch of the newest segment. They replace everything from the first one on. */
  add(entries: readonly Entry[], offset: number, bytes: number, batch: number): void {
    if (entries.length === 0) return
    const part = this.parts.at(-1)!
    const first = entries[0]!.index
    assert(first > part.prev, `entry ${first} in a segment after ${part.prev}`)
    this.forget(first)
    for (const entry of entries) {
      assert(entry.index === this.last + 1, `entry ${entry.index} after ${this.last}`)
      this.last = entry.index
      this.history.push(entry)
      this.cache.push(entry)
    }
    this.cache.evict()
    part.extents.add({ first, last: this.last, offset, batch, bytes, size: bytes })
    part.isExact = true
  }

  /** The segments with entries after `index` that this process has not read. */
  unreadAfter(index: number): readonly Segment[] {
    const isUnread = (part: Part): boolean => !part.isExact && this.lastOf(part) > Math.max(index, part.prev)
    return this.parts.filter(isUnread).map(({ segment }) => segment)
  }

  /** Takes the whole file of such a segment. Throws CorruptionError unless it holds what the bases tell. */
  read(segment: Segment, file: Uint8Array): void {
    const part = this.parts.find((each) => each.segment === segment)
    assert(part?.next !== undefined, `${segment.name} is no old segment of the log`)
    const end = { ...part.next, lastIndex: this.lastOf(part), size: part.extents.size }
    part.extents = locateEntries(segment, file, part.hardState, end)
    part.isExact = true
  }

  /** Makes the cached entries independent of the buffers that they were read into. */
  copyCached(): void {
    this.cache.copy()
  }

  /** The last index before an extent after which batches take `bytes` at least. */
  indexBefore(bytes: number): number {
    let index = this.last
    let kept = 0
    for (const { extents } of this.parts.toReversed()) {
      for (const { first, size } of extents.newestFirst()) {
        if (kept >= bytes) return index
        kept += size
        index = first - 1
      }
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
    this.lastRead = undefined
    this.parts.splice(
      0,
      this.parts.findIndex(({ segment }) => segment.number >= number)
    )
    this.history.dropBefore(prev)
    this.cache.dropBefore(firstIndex)
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
      const entry = this.cache.get(index) ?? this.stored(index)
      if (entry === undefined) break
      bytes += raftEntryBytes(entry)
      if (bytes > maxBytes && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  // ---- segments

  /** Index of the entry before the first one. */
  private get prev(): number {
    return this.parts[0]?.prev ?? 0
  }

  /** The part that holds an entry; undefined if the log holds no entry up to `index`. */
  private partOf(index: number): Part | undefined {
    return this.parts[lastWhere(this.parts, ({ prev }) => prev < index)]
  }

  /** The last entry of a part. */
  private lastOf(part: Part): number {
    return this.parts[this.parts.indexOf(part) + 1]?.prev ?? this.last
  }

  private extentsUpTo({ segment, extents, isExact }: Part, index: number): readonly Extent[] {
    // Recovery reads all segments with entries that a truncation may still remove.
    assert(isExact || index === extents.last, `a truncation after ${index} in ${segment.name}, which was not read`)
    return extents.merged(index)
  }

  /** Forgets the entries from `index` on, except for their places. */
  private forget(index: number): void {
    if (index > this.last) return
    assert(index >= this.firstIndex, `truncate to ${index}, the log starts at ${this.firstIndex}`)
    this.lastRead = undefined
    this.cache.truncate(index)
    this.last = index - 1
    this.history.truncate(index)
  }

  /** Starts anew, empty, after the base. */
  private restart(base: SegmentBase): void {
    this.last = base.prevIndex
    this.parts.length = 0
    this.history.restart(base)
    this.cache.clear()
    this.lastRead = undefined
  }

  // ---- entries

  private stored(index: number): Entry | undefined {
    const { segment, extents } = this.partOf(index)!
    const extent = extents.find(index)
    if (this.lastRead?.extent !== extent) {
      const area = this.files.bytes(segment, extent.offset, extent.bytes)
      if (area === undefined) return undefined
      this.lastRead = { extent, entries: entriesOf(extent, segment.name, area) }
    }
    return this.lastRead.entries[index - extent.first]
  }
}
