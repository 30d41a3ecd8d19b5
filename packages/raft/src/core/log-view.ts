import { assert, raftEntryBytes } from '@quire/protocol'
import type { Entry, LogReader, SnapshotMeta, StorageAck } from './types.js'

/**
 * Joins the durable log in storage with the tail that is not known to be durable.
 *
 * This is etcd's `raftLog` with its `unstable` part. The view never asks storage for an entry at or above the tail's
 * first index, so entries that a truncation left behind there do not matter.
 */
export class LogView {
  /** The entries from `durableIndex + 1` on. */
  private tail: Entry[] = []
  private durable: number
  /** Index of the first entry in the tail that no write contains. */
  private unwritten: number
  private writes: { sequence: number; index: number }[] = []
  private sequence = 0
  /** Sequence of the newest write that was under way when storage last gave entries back. */
  private givenBackUpTo = 0
  /**
   * The snapshot after which the log starts, while storage does not know of it. `sequence` names the write that tells
   * storage, once that write is under way.
   */
  private base: { readonly snapshot: SnapshotMeta; sequence: number | undefined } | undefined

  constructor(private readonly storage: LogReader) {
    this.durable = storage.lastIndex
    this.unwritten = this.durable + 1
  }

  get firstIndex(): number {
    return this.base === undefined ? this.storage.firstIndex : this.base.snapshot.index + 1
  }

  get lastIndex(): number {
    return this.durable + this.tail.length
  }

  get lastTerm(): number {
    return this.termAt(this.lastIndex)
  }

  /** Every entry up to this index is on this node's disk and survives a crash. */
  get durableIndex(): number {
    return this.durable
  }

  /** Term of an entry, known from `firstIndex - 1` on; 0 before the first entry of all. */
  term(index: number): number | undefined {
    if (index > this.durable) return this.tail[index - this.durable - 1]?.term
    const snapshot = this.base?.snapshot
    if (snapshot !== undefined && index <= snapshot.index) return index === snapshot.index ? snapshot.term : undefined
    return this.storage.term(index)
  }

  /** Term of an entry that must exist. */
  termAt(index: number): number {
    const term = this.term(index)
    assert(term !== undefined, `no term at ${index}: the log is ${this.firstIndex}..${this.lastIndex}`)
    return term
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term
  }

  /** §5.4.1: the log with the later last term is more up to date; at equal terms, the longer one. */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /**
   * The last index at or below `index` whose term is not above `term`. Terms never fall along a log, so one binary
   * search skips whole terms (§5.3). The result is below `firstIndex - 1` if the log knows of no such entry.
   */
  findConflictByTerm(index: number, term: number): number {
    let low = this.firstIndex - 2
    let high = Math.min(index, this.lastIndex)
    while (low < high) {
      const middle = high - Math.floor((high - low) / 2)
      if (this.termAt(middle) <= term) low = middle
      else high = middle - 1
    }
    return Math.min(low, high)
  }

  /**
   * Entries from `lo` to `hi`, both included, as many as fit `maxBytes`, but at least one. Empty when storage cannot
   * read them now.
   */
  entries(lo: number, hi: number, maxBytes: number, maxEntries = Infinity): Entry[] {
    if (hi - lo + 1 > maxEntries) hi = lo + maxEntries - 1
    assert(
      lo >= this.firstIndex && hi <= this.lastIndex,
      `entries ${lo}..${hi} of ${this.firstIndex}..${this.lastIndex}`
    )
    const found: Entry[] = []
    let bytes = 0
    if (lo <= this.durable) {
      const end = Math.min(hi, this.durable) + 1
      for (const entry of this.storage.entries(lo, end, maxBytes)) {
        found.push(entry)
        bytes += raftEntryBytes(entry)
      }
      if (found.length < end - lo) return found
    }
    for (let index = lo + found.length; index <= hi; index++) {
      const entry = this.tail[index - this.durable - 1]!
      bytes += raftEntryBytes(entry)
      if (bytes > maxBytes && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, `append of ${entry.index} after ${this.lastIndex}`)
    assert(entry.term >= this.lastTerm, `append of term ${entry.term} after ${this.lastTerm}`)
    this.tail.push(entry)
  }

  /** Removes every entry from `index` on: a follower's conflicting entries (§5.3). */
  truncate(index: number): void {
    // A write under way now confirms less. Comparing terms upon its acknowledgment would not do: by then the log may
    // hold the same entries again, while storage has only the copy that was truncated.
    for (const write of this.writes) write.index = Math.min(write.index, index - 1)
    if (index <= this.durable) {
      this.tail = []
      this.durable = index - 1
    } else {
      this.tail.length = index - this.durable - 1
    }
    this.unwritten = Math.min(this.unwritten, index)
  }

  /** Starts the log anew after `snapshot`, which the state machine holds durably. */
  reset(snapshot: SnapshotMeta): void {
    const { index } = snapshot
    this.base = { snapshot, sequence: undefined }
    // The entries of writes under way are no longer part of the log.
    for (const write of this.writes) write.index = Math.min(write.index, index)
    this.tail = []
    this.durable = index
    this.unwritten = index + 1
  }

  get hasUnwritten(): boolean {
    return this.unwritten <= this.lastIndex || this.hasUnwrittenReset
  }

  /** Whether storage still has to be told that the log starts anew. */
  get hasUnwrittenReset(): boolean {
    return this.base !== undefined && this.base.sequence === undefined
  }

  /** Sequence of the write that has been under way the longest. */
  get oldestWrite(): number | undefined {
    return this.writes[0]?.sequence
  }

  /**
   * Whether a write is under way that also was when storage gave entries back. Storage gives back its entries, too. A
   * write with entries must not begin before that: its entries would count as never handed out.
   */
  get isGivingBack(): boolean {
    return (this.oldestWrite ?? Infinity) <= this.givenBackUpTo
  }

  /** The last entry that a write contains. A later entry becomes durable only by another write. */
  get writtenIndex(): number {
    return this.unwritten - 1
  }

  /** Begins a write without entries. */
  beginStateWrite(term: number): { ack: StorageAck; reset: undefined; entries: Entry[] } {
    return { ack: this.addWrite(term), reset: undefined, entries: [] }
  }

  /** Begins a write of everything that no write contains yet. */
  beginWrite(term: number): { ack: StorageAck; reset: SnapshotMeta | undefined; entries: Entry[] } {
    const entries = this.tail.slice(this.unwritten - this.durable - 1)
    this.unwritten = this.lastIndex + 1
    const ack = this.addWrite(term)
    const { sequence } = ack
    const reset = this.hasUnwrittenReset ? this.base!.snapshot : undefined
    if (reset !== undefined) this.base!.sequence = sequence
    return { ack, reset, entries }
  }

  private addWrite(term: number): StorageAck {
    const sequence = ++this.sequence
    const index = this.writtenIndex
    this.writes.push({ sequence, index })
    return { sequence, term, index }
  }

  /** Called when a write is durable. Returns true if that makes more of the log durable. */
  endWrite(ack: StorageAck): boolean {
    const write = this.writes.shift()
    assert(write?.sequence === ack.sequence, `write ${ack.sequence} ended before write ${write?.sequence}`)
    if (this.base?.sequence === ack.sequence) this.base = undefined
    return this.advanceDurable(write.index)
  }

  /**
   * Called when storage had room for only a part of a write: it holds the write's entries up to `stored`. The rest, and
   * the entries of every later write, count as never handed out. Returns true if that makes more of the log durable.
   */
  endWriteInPart(ack: StorageAck, stored: number): boolean {
    const write = this.writes.shift()
    assert(write?.sequence === ack.sequence, `write ${ack.sequence} ended before write ${write?.sequence}`)
    if (this.base?.sequence === ack.sequence) this.base = { snapshot: this.base.snapshot, sequence: undefined }
    const kept = Math.min(write.index, stored)
    for (const behind of this.writes) behind.index = Math.min(behind.index, Math.max(kept, this.durable))
    const advanced = this.advanceDurable(kept)
    this.givenBackUpTo = this.sequence
    this.unwritten = this.durable + 1
    return advanced
  }

  private advanceDurable(index: number): boolean {
    if (index <= this.durable) return false
    this.tail.splice(0, index - this.durable)
    this.durable = index
    return true
  }
}
