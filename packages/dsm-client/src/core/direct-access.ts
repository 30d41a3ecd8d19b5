/** Reads and writes of mapped pages by a thread that does not own the page table (docs/threads.md). */
import { BUSY, MAY_READ, MAY_WRITE, NONE, USED, type SharedTableArrays } from './shared-page-table.js'

/** A chain that a look-up follows while the owner changes it may lead into other chains. */
const MAX_STEPS = 64

export interface DirectAccessInit {
  readonly table: SharedTableArrays
  /** Returns the bytes of a slab; undefined if it is gone. */
  readonly slab: (number: number) => Uint8Array | undefined
  /** Milliseconds of the machine's clock. */
  readonly now: () => number
}

/**
 * Uses pages without the thread that owns the page table, as far as that thread has mapped them.
 *
 * A call holds the pages of its range while it copies. So it sees all of them at one moment, and the owner takes none
 * of them away in the middle.
 */
export class DirectAccess {
  /** Accesses to pages that needed no help. */
  hits = 0
  private readonly held: number[] = []

  constructor(private readonly init: DirectAccessInit) {}

  /** Whether the program may use at this moment what is mapped. */
  isLeaseValid(): boolean {
    return this.init.now() * 1000 < Atomics.load(this.init.table.lease, 0)
  }

  /**
   * Reads the range. Returns false if a page is not mapped or not free at the moment, or if the lease is over: then
   * `target` may have changed.
   */
  tryRead(space: number, pageSize: number, offset: number, target: Uint8Array): boolean {
    if (!this.hold(space, pageSize, offset, target.length, MAY_READ)) return false
    try {
      let at = 0
      for (const entry of this.held) {
        const bytes = this.bytesOf(entry, pageSize, offset + at, target.length - at)
        target.set(bytes, at)
        at += bytes.length
      }
      this.hits += this.held.length
    } finally {
      this.release()
    }
    // After the copy, because the process may have been stopped in between.
    return this.isLeaseValid()
  }

  /** Writes the range, or returns false if a page is not mapped for writing or not free at the moment. */
  tryWrite(space: number, pageSize: number, offset: number, source: Uint8Array): boolean {
    if (!this.isLeaseValid() || !this.hold(space, pageSize, offset, source.length, MAY_WRITE)) return false
    try {
      let at = 0
      for (const entry of this.held) {
        const bytes = this.bytesOf(entry, pageSize, offset + at, source.length - at)
        bytes.set(at === 0 && bytes.length === source.length ? source : source.subarray(at, at + bytes.length))
        at += bytes.length
      }
      this.hits += this.held.length
    } finally {
      this.release()
    }
    return true
  }

  /** Keeps the owner out of all pages of the range, or of none. */
  private hold(space: number, pageSize: number, offset: number, length: number, access: number): boolean {
    const end = offset + length
    for (let at = offset; at < end;) {
      const page = Math.floor(at / pageSize)
      const pageStart = page * pageSize
      const entry = this.enter(space, page, access, Math.min(pageSize, end - pageStart))
      if (entry === NONE) {
        this.release()
        return false
      }
      this.held.push(entry)
      at = pageStart + pageSize
    }
    return true
  }

  private release(): void {
    const { words } = this.init.table
    for (const entry of this.held) Atomics.store(words, entry, (Atomics.load(words, entry) & ~BUSY) | USED)
    this.held.length = 0
  }

  private enter(space: number, page: number, access: number, bytes: number): number {
    const { words, spaces, pages, lengths, slabs } = this.init.table
    const entry = this.find(space, page)
    if (entry === NONE) return NONE
    const word = Atomics.load(words, entry)
    if ((word & BUSY) !== 0 || (word & access) === 0) return NONE
    if (Atomics.compareExchange(words, entry, word, word | BUSY) !== word) return NONE
    // The entry may have come to map something else since it was found.
    const isRight = spaces[entry] === space && pages[entry] === page && bytes <= lengths[entry]!
    if (isRight && this.init.slab(slabs[entry]!) !== undefined) return entry
    Atomics.store(words, entry, word)
    return NONE
  }

  private find(space: number, page: number): number {
    const { table } = this.init
    let entry = Atomics.load(table.heads, table.hash(space, page))
    for (let steps = 0; entry !== NONE && steps < MAX_STEPS; steps++) {
      if (table.spaces[entry] === space && table.pages[entry] === page) return entry
      entry = Atomics.load(table.next, entry)
    }
    return NONE
  }

  /** The part of the page from `offset` in the file on, up to `most` bytes. */
  private bytesOf(entry: number, pageSize: number, offset: number, most: number): Uint8Array {
    const { slabs, offsets } = this.init.table
    const within = offset % pageSize
    const start = offsets[entry]! + within
    return this.init.slab(slabs[entry]!)!.subarray(start, start + Math.min(most, pageSize - within))
  }
}
