/**
 * Inspects LMDB's file without LMDB. LMDB maps the file and trusts it: a file that is too short, or that has a damaged
 * page, ends the process with a signal. So the peer inspects the file before LMDB opens it.
 *
 * The layout is that of `mdb.c` in lmdb 3.5 (data version 2) on 64-bit machines: MDB_page_header, MDB_meta, MDB_db,
 * MDB_node, MDB_ovpage.
 */
import { closeSync, fstatSync, openSync, readSync, truncateSync } from 'node:fs'
import { endianness } from 'node:os'

/**
 * The inspection reads at most this many pages: the roots and branches of a large store, and some of its leaves. It
 * reads all pages of a file that is shorter than its meta page says.
 */
const MAX_PAGES = 2048

const METAS = 2
const HEADER_BYTES = 24
const META_BYTES = 160
const NODE_BYTES = 8
/** Size of MDB_db, the value of a node that names another tree. */
const TREE_BYTES = 48
const MAGIC = 0xbeefc0de
const VERSION = 2
const NO_PAGE = 0xffff_ffff_ffff_ffffn
const LE = endianness() === 'LE'
/** On other machines page numbers are half as wide. There the peer relies on the probe alone. */
const IS_64_BIT = process.arch.includes('64') || process.arch === 's390x'

// Flags of pages and of nodes.
const BRANCH = 0x01
const LEAF = 0x02
const META = 0x08
const BIG = 0x01
const TREE = 0x02

/** One of the two meta pages. Each describes a committed state of the file. */
interface Meta {
  readonly pageBytes: number
  readonly lastPage: number
  readonly transaction: bigint
  /** Root pages of the free list's tree and of the tree that names the others. */
  readonly roots: readonly number[]
}

/**
 * Returns why LMDB must not open the file, or undefined if it may. LMDB makes a file that is missing or empty.
 *
 * Empties a file that LMDB has never flushed.
 */
export function inspectLmdbFile(path: string, maxPages = MAX_PAGES): string | undefined {
  const file = IS_64_BIT ? openIfThere(path) : undefined
  if (file === undefined) return undefined
  try {
    const { size } = fstatSync(file)
    if (size === 0 || isUnwritten(file, size)) {
      truncateSync(path, 0)
      return undefined
    }
    const meta = newestMeta(file)
    if (typeof meta === 'string') return meta
    const needed = (meta.lastPage + 1) * meta.pageBytes
    // A sound file may be shorter: LMDB never writes pages at the end that one transaction both allocated and freed.
    // Then the inspection reads every page.
    return new TreeWalk(file, Math.floor(size / meta.pageBytes), meta, size < needed ? Infinity : maxPages).run()
  } finally {
    closeSync(file)
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * LMDB writes its meta pages when it makes the file, and flushes them with its first transaction. A power loss in
 * between leaves zeros, or one of them.
 */
function isUnwritten(file: number, size: number): boolean {
  if (size > METAS * 65_536) return false
  const isZero = (from: number, to: number): boolean => read(file, from, to - from).every((byte) => byte === 0)
  if (isZero(0, size)) return true
  if (size % METAS !== 0) return false
  const half = size / METAS
  const left = isZero(half, size) ? 0 : isZero(0, half) ? 1 : undefined
  if (left === undefined) return false
  const meta = readMeta(file, left, left * half)
  return typeof meta !== 'string' && meta.pageBytes === half && meta.transaction === 0n
}

function newestMeta(file: number): Meta | string {
  const first = readMeta(file, 0, 0)
  if (typeof first === 'string') return first
  const second = readMeta(file, 1, first.pageBytes)
  if (typeof second === 'string') return second
  return second.transaction > first.transaction ? second : first
}

/** Requires a whole meta page. LMDB overwrites the older of the two, in one sector, so no crash leaves a broken one. */
function readMeta(file: number, number: number, offset: number): Meta | string {
  const bytes = read(file, offset, META_BYTES)
  if (bytes.length < META_BYTES) return `the file ends in meta page ${number}`
  const meta = new FieldReader(bytes)
  const isMeta = (meta.u16(18) & META) !== 0 && meta.number(0) === number
  if (!isMeta || meta.u32(HEADER_BYTES) !== MAGIC) {
    return number === 0 ? 'it does not begin like an LMDB file' : `meta page ${number} is damaged`
  }
  const version = meta.u32(HEADER_BYTES + 4) & 0xffff
  if (version !== VERSION) return `LMDB's data version is ${version}, not ${VERSION}`
  const pageBytes = meta.u32(48)
  const lastPage = meta.number(144)
  const roots = [88, 136].map((at) => meta.u64(at))
  const isSound = pageBytes >= 512 && pageBytes <= 65_536 && (pageBytes & (pageBytes - 1)) === 0
  const isKnown = (page: bigint): boolean => page >= METAS && page <= lastPage
  if (!isSound || lastPage > Number.MAX_SAFE_INTEGER || !roots.every((root) => root === NO_PAGE || isKnown(root))) {
    return `meta page ${number} is damaged`
  }
  return {
    pageBytes,
    lastPage,
    transaction: meta.u64(152),
    roots: roots.filter((root) => root !== NO_PAGE).map(Number)
  }
}

/** Checks the pages of the trees level by level, so that a limit on the number of pages leaves out leaves first. */
class TreeWalk {
  private problem: string | undefined
  private queue: number[]

  constructor(
    private readonly file: number,
    /** Whole pages in the file. */
    private readonly pages: number,
    private readonly meta: Meta,
    private readonly maxPages: number
  ) {
    this.queue = [...meta.roots]
  }

  run(): string | undefined {
    for (const root of this.queue) this.checkPlace(root, 1, 'the meta page')
    for (let at = 0; at < this.queue.length && at < this.maxPages && this.problem === undefined; at++) {
      // Otherwise a tree that contains itself would have no end.
      if (at > this.meta.lastPage) return 'its trees have more pages than the file'
      this.visit(this.queue[at]!)
    }
    return this.problem
  }

  private visit(number: number): void {
    const { pageBytes } = this.meta
    const page = new FieldReader(read(this.file, number * pageBytes, pageBytes))
    const kind = page.length < pageBytes ? 0 : page.u16(18) & (BRANCH | LEAF)
    if ((kind !== BRANCH && kind !== LEAF) || page.number(0) !== number) {
      return this.refuse(`page ${number} has the wrong number or type`)
    }
    try {
      this.visitNodes(number, kind, page)
    } catch (error) {
      if (!(error instanceof BeyondError)) throw error
      this.refuse(`page ${number} is damaged`)
    }
  }

  private visitNodes(number: number, kind: number, page: FieldReader): void {
    const lower = page.u16(20)
    const upper = page.u16(22)
    // LMDB writes new nodes into the room between the two.
    if (lower % 2 !== 0 || lower > upper || HEADER_BYTES + upper > page.length) throw new BeyondError()
    for (let i = 0; i < lower / 2; i++) {
      const at = page.u16(HEADER_BYTES + 2 * i)
      if (at < upper) throw new BeyondError()
      const node = HEADER_BYTES + at
      if (kind === BRANCH) {
        page.need(node + NODE_BYTES, page.u16(node + 6))
        this.follow(number, page.u32(node) + page.u16(node + 4) * 2 ** 32)
      } else this.leaf(number, page, node)
    }
  }

  private leaf(number: number, page: FieldReader, node: number): void {
    const flags = page.u16(node + 4)
    const data = node + NODE_BYTES + page.u16(node + 6)
    const dataBytes = page.u16(node) + page.u16(node + 2) * 65_536
    if ((flags & BIG) !== 0) {
      // The pages of a large value. A checksum of the page store covers their content (see page-rows.ts).
      const pages = page.number(data + 16)
      return this.checkPlace(page.number(data), Math.max(pages, 1), `page ${number}`)
    }
    page.need(data, dataBytes)
    if ((flags & TREE) === 0) return
    if (dataBytes !== TREE_BYTES) throw new BeyondError()
    const root = page.u64(data + 40)
    if (root !== NO_PAGE) this.follow(number, Number(root))
  }

  private follow(from: number, to: number): void {
    this.checkPlace(to, 1, `page ${from}`)
    this.queue.push(to)
  }

  private checkPlace(first: number, count: number, from: string): void {
    const { lastPage, pageBytes } = this.meta
    if (first < METAS || first + count - 1 > lastPage)
      this.refuse(`${from} names page ${first}, the last one is ${lastPage}`)
    else if (first + count > this.pages) {
      this.refuse(`it is cut off: it has ${this.pages * pageBytes} of ${(lastPage + 1) * pageBytes} bytes`)
    }
  }

  private refuse(problem: string): void {
    this.problem ??= problem
  }
}

/** Returns fewer bytes than `length` if the file ends. */
function read(file: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const count = readSync(file, bytes, done, length - done, offset + done)
    if (count === 0) break
    done += count
  }
  return bytes.subarray(0, done)
}

/** A field lies beyond the bytes of its page, so LMDB did not write the number that leads there. */
class BeyondError extends Error {
  override readonly name = 'BeyondError'
}

/** Reads numbers from bytes of the file. Throws BeyondError if the bytes end before a number does. */
class FieldReader {
  private readonly view: DataView

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get length(): number {
    return this.view.byteLength
  }

  need(at: number, bytes: number): void {
    if (at + bytes > this.length) throw new BeyondError()
  }

  u16(at: number): number {
    this.need(at, 2)
    return this.view.getUint16(at, LE)
  }

  u32(at: number): number {
    this.need(at, 4)
    return this.view.getUint32(at, LE)
  }

  u64(at: number): bigint {
    this.need(at, 8)
    return this.view.getBigUint64(at, LE)
  }

  /** Rounds a number above 2^53. Such a number is too large for any file, before and after. */
  number(at: number): number {
    return Number(this.u64(at))
  }
}
