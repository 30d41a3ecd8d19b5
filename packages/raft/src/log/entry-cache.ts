import { raftEntryBytes } from '@quire/protocol'
import type { Entry } from '../core/types.js'
import { copyOf } from './log-history.js'

/** Holds the newest entries of a log, up to a number of bytes. */
export class EntryCache {
  /** Consecutive entries. Those before `start` are evicted. */
  private entries: (Entry | undefined)[] = []
  private start = 0
  /** One above the index of the last entry, if there is one. */
  private next = 0
  private bytes = 0

  constructor(private readonly maxBytes: number) {}

  get(index: number): Entry | undefined {
    return this.entries[this.entries.length - (this.next - index)]
  }

  /** Adds an entry after the last one. `evict` must follow. */
  push(entry: Entry): void {
    this.entries.push(entry)
    this.next = entry.index + 1
    this.bytes += raftEntryBytes(entry)
  }

  /** Evicts the oldest entries beyond the limit. */
  evict(): void {
    while (this.bytes > this.maxBytes && this.start < this.entries.length) this.evictFirst()
    this.trim()
  }

  /** Forgets the entries from `index` on. */
  truncate(index: number): void {
    for (; this.next > index && this.entries.length > this.start; this.next--) {
      this.bytes -= raftEntryBytes(this.entries.pop()!)
    }
    this.next = Math.min(this.next, index)
  }

  /** Forgets the entries before `index`. */
  dropBefore(index: number): void {
    while (this.start < this.entries.length && this.entries.length - this.start > this.next - index) this.evictFirst()
    this.trim()
  }

  clear(): void {
    this.entries = []
    this.start = 0
    this.bytes = 0
  }

  /** Copies the entries. After recovery they are views of a whole segment, which would stay in memory with them. */
  copy(): void {
    this.entries = this.entries.map((entry) => entry && copyOf(entry))
  }

  private evictFirst(): void {
    this.bytes -= raftEntryBytes(this.entries[this.start]!)
    this.entries[this.start++] = undefined
  }

  private trim(): void {
    if (this.start <= 1024 || this.start * 2 <= this.entries.length) return
    this.entries = this.entries.slice(this.start)
    this.start = 0
  }
}
