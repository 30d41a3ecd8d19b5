/**
 * A page table in shared memory, in which other threads of the program find the pages that they may use by themselves,
 * as a processor finds them in the page table of a kernel (docs/threads.md).
 *
 * One thread, the owner, changes it: `SharedPageTable`. Others look pages up: `DirectAccess`.
 */
import { assert } from '@quire/protocol'
import type { PageAccess } from './frames.js'

/** No entry. */
export const NONE = -1

/** Bits of an entry's word. A word without any of the first two maps nothing. */
export const MAY_READ = 1
export const MAY_WRITE = 2
/** A thread is inside the page, or the owner changes the entry. Everybody else stays out. */
export const BUSY = 4
/** The page was used since the owner last asked (kernel: the accessed bit). */
export const USED = 8

/** How often the owner looks at a busy entry before it sleeps. A thread is inside for as long as a copy takes. */
const SPINS = 200
/** One for the lease, at the start, in 64 bits. */
const HEADER_BYTES = 8
/** Five numbers of 32 bits, a bucket, and the key: two of 64 bits. */
const ENTRY_BYTES = 5 * 4 + 4 + 2 * 8

/** The arrays of a table, on memory that all threads share. Index: number of the entry. */
export class SharedTableArrays {
  /** Until when the program may use what is mapped, in microseconds of the machine's clock. */
  readonly lease: BigInt64Array
  /** The key: number of the address space, and index of the page. */
  readonly spaces: Float64Array
  readonly pages: Float64Array
  /** The bits above. An entry's other numbers change only while its word is BUSY or maps nothing. */
  readonly words: Int32Array
  /** Number of the slab, and where the page begins in it. */
  readonly slabs: Int32Array
  readonly offsets: Int32Array
  /** The first bytes of the page, which lie within the file. */
  readonly lengths: Int32Array
  /** The next entry with the same hash. */
  readonly next: Int32Array
  /** The first entry of each hash. */
  readonly heads: Int32Array

  constructor(readonly memory: SharedArrayBuffer) {
    const entries = (memory.byteLength - HEADER_BYTES) / ENTRY_BYTES
    let at = HEADER_BYTES
    const take = (bytes: number): number => (at += bytes) - bytes
    this.lease = new BigInt64Array(memory, 0, 1)
    this.spaces = new Float64Array(memory, take(8 * entries), entries)
    this.pages = new Float64Array(memory, take(8 * entries), entries)
    const numbers = (): Int32Array => new Int32Array(memory, take(4 * entries), entries)
    this.words = numbers()
    this.slabs = numbers()
    this.offsets = numbers()
    this.lengths = numbers()
    this.next = numbers()
    this.heads = numbers()
  }

  static allocate(entries: number): SharedTableArrays {
    return new SharedTableArrays(new SharedArrayBuffer(HEADER_BYTES + entries * ENTRY_BYTES))
  }

  get entries(): number {
    return this.words.length
  }

  /** Neighboring pages have different hashes. */
  hash(space: number, page: number): number {
    return ((page + Math.imul(space, 0x9e3779b1)) >>> 0) % this.words.length
  }
}

/** What an entry maps: the first `length` bytes of a page, from `offset` on in slab number `slab`. */
export interface Mapped {
  readonly space: number
  readonly page: number
  readonly slab: number
  readonly offset: number
  readonly length: number
  readonly access: Exclude<PageAccess, 'invalid'>
}

/** The owner's side. */
export class SharedPageTable {
  private readonly arrays: SharedTableArrays
  private readonly free: number[] = []

  /**
   * `entries`: the most pages that are mapped at a time. `sleep` returns when `words[entry]` may have changed from
   * `word`, or a little later.
   */
  constructor(
    entries: number,
    private readonly sleep: (words: Int32Array, entry: number, word: number) => void
  ) {
    this.arrays = SharedTableArrays.allocate(entries)
    this.arrays.heads.fill(NONE)
    for (let entry = entries - 1; entry >= 0; entry--) this.free.push(entry)
  }

  /** For the constructor of SharedTableArrays in another thread. */
  get memory(): SharedArrayBuffer {
    return this.arrays.memory
  }

  /** `until`: in milliseconds of the machine's clock. */
  setLease(until: number): void {
    Atomics.store(this.arrays.lease, 0, BigInt(Math.floor(until * 1000)))
  }

  /** Returns the number of the new entry. */
  add({ space, page, slab, offset, length, access }: Mapped): number {
    const { spaces, pages, slabs, offsets, lengths, next, heads, words } = this.arrays
    const entry = this.free.pop()
    assert(entry !== undefined, `all ${this.arrays.entries} entries of the shared page table are in use`)
    spaces[entry] = space
    pages[entry] = page
    slabs[entry] = slab
    offsets[entry] = offset
    lengths[entry] = length
    const bucket = this.arrays.hash(space, page)
    Atomics.store(next, entry, heads[bucket]!)
    Atomics.store(words, entry, bitsOf(access))
    Atomics.store(heads, bucket, entry)
    return entry
  }

  /** Returns when no access is under way. Accesses that begin later have this access to so many bytes. */
  change(entry: number, access: Mapped['access'], length: number): void {
    const word = this.seize(entry)
    this.arrays.lengths[entry] = length
    Atomics.store(this.arrays.words, entry, bitsOf(access) | (word & USED))
  }

  /** Returns when no access is under way, and none begins any more. */
  remove(entry: number): void {
    const { spaces, pages, next, heads, words } = this.arrays
    this.seize(entry)
    const bucket = this.arrays.hash(spaces[entry]!, pages[entry]!)
    if (heads[bucket] === entry) Atomics.store(heads, bucket, next[entry]!)
    else {
      let before = heads[bucket]!
      while (next[before] !== entry) before = next[before]!
      Atomics.store(next, before, next[entry]!)
    }
    Atomics.store(words, entry, 0)
    this.free.push(entry)
  }

  /** Whether the page was used since the last call. */
  takeUsed(entry: number): boolean {
    return (Atomics.and(this.arrays.words, entry, ~USED) & USED) !== 0
  }

  /** Waits until nobody is inside, and keeps everybody out. Returns the word from before. */
  private seize(entry: number): number {
    const { words } = this.arrays
    for (let looks = 1; ; looks++) {
      const word = Atomics.load(words, entry)
      if ((word & BUSY) === 0 && Atomics.compareExchange(words, entry, word, BUSY) === word) return word
      // The thread inside was interrupted in its copy.
      if (looks > SPINS) this.sleep(words, entry, word | BUSY)
    }
  }
}

function bitsOf(access: Mapped['access']): number {
  return access === 'modified' ? MAY_READ | MAY_WRITE : MAY_READ
}
