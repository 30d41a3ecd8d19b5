/**
 * The rows of pages in a backend.
 *
 * A page is two rows under one key (file, page). LMDB stores a value of more than half a page in pages of its own, the
 * first of which starts with a header, so a value of 4,096 bytes would take two. The body therefore lacks the last 28
 * bytes of the page, and fills LMDB's pages exactly. The head holds these 28 bytes, the version and the checksums; many
 * heads share a page of LMDB. docs/storage.md has the measurements.
 *
 *   head: version f64 | CRC32C of the body u32 | zeros u8 | last 28 bytes | CRC32C of key and head u32
 *
 * `zeros` is 1 for a page whose bytes are all zeros. Such a page has no body. Otherwise `zeros` is 0, and a page
 * without a body is damaged.
 */
import { crc32c } from '@node-rs/crc32'
import { DamagedPageError } from '../state/index.js'
import type { Backend } from './backend.js'
import { corruption, getUint53, setUint53, viewOf, type RowsName } from './row-bytes.js'

export const TAIL_BYTES = 28
const CHECKSUM_START = 8
const ZEROS_START = 12
export const TAIL_START = 13
export const HEAD_BYTES = TAIL_START + TAIL_BYTES + 4

export const PAGE_KEY_BYTES = 16

export function pageKey(file: number, page: number): Uint8Array {
  const key = new Uint8Array(PAGE_KEY_BYTES)
  const view = new DataView(key.buffer)
  setUint53(view, 0, file)
  setUint53(view, 8, page)
  return key
}

export function fileKeyPrefix(file: number): Uint8Array {
  return pageKey(file, 0).subarray(0, 8)
}

export function fileOfKey(key: Uint8Array): number {
  return getUint53(viewOf(key), 0)
}

export function pageOfKey(key: Uint8Array): number {
  return getUint53(viewOf(key), 8)
}

/** The two values of a page. A page of zeros, or one whose bytes are lost, has no body. */
export interface PageRows {
  readonly head: Uint8Array
  readonly body: Uint8Array | undefined
}

/** What a head says of the body: its checksum, or 'zeros' if all bytes are zeros, so that there is none. */
export type BodyMark = number | 'zeros'

/** Pages whose keys and heads share a buffer. */
const PAGES_PER_BUFFER = 1024

/** Encodes pages. Their keys and heads share buffers, because a buffer for each costs more than its content. */
export class PageEncoder {
  private bytes = new Uint8Array(0)
  private view = viewOf(this.bytes)
  private next = 0

  /**
   * Splits a page into its two values. `body` is a view of `bytes`. A page whose bytes are lost is a damaged one for
   * every reader.
   */
  encode(
    file: number,
    page: number,
    version: number,
    bytes: Uint8Array | 'zeros' | 'lost'
  ): PageRows & { key: Uint8Array } {
    const start = this.take()
    const headStart = start + PAGE_KEY_BYTES
    const end = headStart + HEAD_BYTES
    const body = typeof bytes === 'string' ? undefined : bytes.subarray(0, bytes.length - TAIL_BYTES)
    setUint53(this.view, start, file)
    setUint53(this.view, start + 8, page)
    this.view.setFloat64(headStart, version, true)
    this.view.setUint32(headStart + CHECKSUM_START, body === undefined ? 0 : crc32c(body), true)
    this.view.setUint8(headStart + ZEROS_START, bytes === 'zeros' ? 1 : 0)
    if (typeof bytes !== 'string') this.bytes.set(bytes.subarray(bytes.length - TAIL_BYTES), headStart + TAIL_START)
    this.view.setUint32(end - 4, crc32c(this.bytes.subarray(start, end - 4)), true)
    return { key: this.bytes.subarray(start, headStart), head: this.bytes.subarray(headStart, end), body }
  }

  private take(): number {
    const start = this.next
    this.next += PAGE_KEY_BYTES + HEAD_BYTES
    if (this.next <= this.bytes.length) return start
    this.bytes = new Uint8Array(PAGES_PER_BUFFER * (PAGE_KEY_BYTES + HEAD_BYTES))
    this.view = viewOf(this.bytes)
    this.next = PAGE_KEY_BYTES + HEAD_BYTES
    return 0
  }
}

/** Returns the version of the page, or 0 if the backend has no such page. Throws DamagedPageError. */
export function readVersion(backend: Backend, key: Uint8Array): number {
  const head = backend.get('heads', key)
  if (head === undefined) {
    refuseOrphan(backend, key)
    return 0
  }
  checkHead(backend, key, head)
  return viewOf(head).getFloat64(0, true)
}

/**
 * What a backend knows of a damaged page: its head, unless that is what is damaged. A good copy has this version, and
 * bytes with this mark. Nobody knows the mark of a lost page.
 */
export interface DamagedPage {
  readonly head: { readonly version: number; readonly mark: BodyMark | undefined } | undefined
}

/** Returns undefined for a page that is good or absent. */
export function findDamage(backend: Backend, key: Uint8Array): DamagedPage | undefined {
  // A copy, because a view is valid only until the next `get`.
  const head = backend.get('heads', key)?.slice()
  try {
    if (head === undefined) refuseOrphan(backend, key)
    else checkPage(backend, key, head, backend.get('bodies', key))
    return undefined
  } catch (error) {
    if (!(error instanceof DamagedPageError)) throw error
  }
  if (head === undefined || !isHead(key, head)) return { head: undefined }
  const view = viewOf(head)
  const mark = readMark(view, 0)
  return { head: { version: view.getFloat64(0, true), mark: mark === 0 ? undefined : mark } }
}

/** Reads the mark of the head at `headStart`. A lost page has the mark 0. */
export function readMark(view: DataView, headStart: number): BodyMark {
  return view.getUint8(headStart + ZEROS_START) === 1 ? 'zeros' : view.getUint32(headStart + CHECKSUM_START, true)
}

/** The mark of a page with these bytes. undefined: all zeros. */
export function markOf(bytes: Uint8Array | undefined): BodyMark {
  return bytes === undefined ? 'zeros' : crc32c(bytes.subarray(0, bytes.length - TAIL_BYTES))
}

/**
 * Throws DamagedPageError unless the two rows form the page of `key`; a row that is missing is undefined. Throws
 * CorruptionError if `key` is that of no page.
 */
export function checkPage(
  rows: RowsName,
  key: Uint8Array,
  head: Uint8Array | undefined,
  body: Uint8Array | undefined
): asserts head is Uint8Array {
  if (key.length !== PAGE_KEY_BYTES) throw corruption(rows, `a page has a key of ${key.length} bytes`)
  if (head === undefined) throw orphanedBody(rows, key)
  checkHead(rows, key, head)
  checkBody(rows, key, readMark(viewOf(head), 0), body)
}

/** A page that has lost its head is damaged. Without the look at its body it would read as a hole. */
export function refuseOrphan(backend: Backend, key: Uint8Array): void {
  if (backend.get('bodies', key) !== undefined) throw orphanedBody(backend, key)
}

function orphanedBody(rows: RowsName, key: Uint8Array): DamagedPageError {
  return damaged(rows, key, 'the page has a body but no head')
}

/** Throws DamagedPageError unless the body is the one that `mark` stands for. */
export function checkBody(rows: RowsName, key: Uint8Array, mark: BodyMark, body: Uint8Array | undefined): void {
  if (mark === 'zeros') {
    if (body !== undefined) throw damaged(rows, key, 'the page is zeros but has a body')
    return
  }
  if (body === undefined) throw damaged(rows, key, 'the page has a head but no body')
  if (crc32c(body) !== mark) throw damaged(rows, key, 'the checksum of the page does not match')
}

export function checkHead(backend: RowsName, key: Uint8Array, head: Uint8Array): void {
  if (head.length !== HEAD_BYTES)
    throw damaged(backend, key, `the page's head has ${head.length} bytes, not ${HEAD_BYTES}`)
  if (!isHead(key, head)) throw damaged(backend, key, "the checksum of the page's head does not match")
}

function isHead(key: Uint8Array, head: Uint8Array): boolean {
  return head.length === HEAD_BYTES && headChecksum(key, head) === viewOf(head).getUint32(HEAD_BYTES - 4, true)
}

// Covers the key, so that a head under the key of another page counts as damaged.
function headChecksum(key: Uint8Array, head: Uint8Array): number {
  return crc32c(head.subarray(0, HEAD_BYTES - 4), crc32c(key))
}

function damaged({ name }: RowsName, key: Uint8Array, reason: string): DamagedPageError {
  const [file, page] = [fileOfKey(key), pageOfKey(key)]
  return new DamagedPageError(name, `page ${page} of file ${file}: ${reason}`, file, page)
}
