/**
 * The format of pages and records in a backend. Numbers are big-endian in keys, so that rows are in order, and
 * little-endian in values.
 *
 * A page is two rows under one key (file, page). LMDB stores a value of more than half a page in pages of its own, the
 * first of which starts with a header, so a value of 4,096 bytes would take two. The body therefore lacks the last 28
 * bytes of the page, and fills LMDB's pages exactly. The head holds these 28 bytes, the version and the checksums; many
 * heads share a page of LMDB. docs/storage.md has the measurements.
 *
 *   head: version f64 | CRC32C of the body u32 | last 28 bytes | CRC32C of key and head u32
 */
import { crc32c } from '@node-rs/crc32'
import {
  CodecError,
  CorruptionError,
  VersionMismatchError,
  decode,
  encode,
  digestText,
  raftSnapshot,
  struct,
  uint,
  type Codec,
  type RaftSnapshot,
  type TypeOf
} from '@quire/protocol'
import { equals } from 'uint8arrays/equals'
import {
  DamagedPageError,
  decodeRecord,
  encodeRecord,
  type RecordKind,
  type RecordTypes,
  type StateRecord
} from '../state/index.js'
import type { Backend } from './backend.js'

/** Rises with each change of the formats in this file. The page store refuses every other format. */
export const STORE_FORMAT = 3

export const TAIL_BYTES = 28
export const TAIL_START = 12
export const HEAD_BYTES = TAIL_START + TAIL_BYTES + 4

// -- pages

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

/** Returns the smallest key that is greater than `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

/** The two values of a page. A page whose bytes are lost has no body, which makes it a damaged one for every reader. */
export interface PageRows {
  readonly head: Uint8Array
  readonly body: Uint8Array | undefined
}

/** Pages whose keys and heads share a buffer. */
const PAGES_PER_BUFFER = 1024

/** Encodes pages. Their keys and heads share buffers, because a buffer for each costs more than its content. */
export class PageEncoder {
  private bytes = new Uint8Array(0)
  private view = viewOf(this.bytes)
  private next = 0

  /** Splits a page into its two values. `body` is a view of the page; undefined if the bytes of the page are lost. */
  encode(file: number, page: number, version: number, bytes: Uint8Array | undefined): PageRows & { key: Uint8Array } {
    const start = this.take()
    const headStart = start + PAGE_KEY_BYTES
    const end = headStart + HEAD_BYTES
    const body = bytes?.subarray(0, bytes.length - TAIL_BYTES)
    setUint53(this.view, start, file)
    setUint53(this.view, start + 8, page)
    this.view.setFloat64(headStart, version, true)
    this.view.setUint32(headStart + 8, body === undefined ? 0 : crc32c(body), true)
    if (bytes !== undefined) this.bytes.set(bytes.subarray(bytes.length - TAIL_BYTES), headStart + TAIL_START)
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

/** The place of rows, for error messages. */
export type RowsName = Pick<Backend, 'name' | 'remedy'>

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
 * What a backend knows of a damaged page: its head, unless that is what is damaged. The bytes of a good copy have this
 * version, and the checksum if there was a body once.
 */
export interface DamagedPage {
  readonly head: { readonly version: number; readonly bodyChecksum: number | undefined } | undefined
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
  const checksum = view.getUint32(8, true)
  // Of a lost page, nobody knows the checksum.
  const bodyChecksum = checksum === 0 ? undefined : checksum
  return { head: { version: view.getFloat64(0, true), bodyChecksum } }
}

/** The checksum that the head of a page with these bytes has for its body. */
export function bodyChecksumOf(bytes: Uint8Array): number {
  return crc32c(bytes.subarray(0, bytes.length - TAIL_BYTES))
}

/**
 * Throws DamagedPageError unless the two rows form the page of `key`; `body` is undefined if it is missing. Throws
 * CorruptionError if `key` is that of no page.
 */
export function checkPage(
  rows: RowsName,
  key: Uint8Array,
  head: Uint8Array,
  body: Uint8Array | undefined
): asserts body is Uint8Array {
  checkPageKey(rows, key)
  checkHead(rows, key, head)
  checkBody(rows, key, viewOf(head).getUint32(8, true), body)
}

/** A page that has lost its head is damaged. Without the look at its body it would read as zeros. */
export function refuseOrphan(backend: Backend, key: Uint8Array): void {
  if (backend.get('bodies', key) !== undefined) throw orphanedBody(backend, key)
}

/** Returns the error for a body under a key that has no head. */
export function orphanedBody(rows: RowsName, key: Uint8Array): CorruptionError {
  checkPageKey(rows, key)
  return damaged(rows, key, 'the page has a body but no head')
}

function checkPageKey(rows: RowsName, key: Uint8Array): void {
  if (key.length !== PAGE_KEY_BYTES) throw corruption(rows, `a page has a key of ${key.length} bytes`)
}

export function checkBody(
  rows: RowsName,
  key: Uint8Array,
  checksum: number,
  body: Uint8Array | undefined
): asserts body is Uint8Array {
  if (body === undefined) throw damaged(rows, key, 'the page has a head but no body')
  if (crc32c(body) !== checksum) {
    throw damaged(rows, key, 'the checksum of the page does not match')
  }
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

/** Makes an error without an offset, because only LMDB knows where in its file a row is. */
export function corruption(backend: RowsName, reason: string): CorruptionError {
  const { name, remedy } = backend
  return new CorruptionError(name, undefined, remedy === undefined ? reason : `${reason}; ${remedy}`)
}

// -- records: CRC32C of key and value u32 | value

const KIND_TAGS: { readonly [K in RecordKind]: number } = {
  config: 2,
  epochFloor: 3,
  session: 4,
  file: 5,
  mapping: 6,
  owner: 7,
  answer: 8,
  founding: 9
}
const RECORD_KEY_BYTES = 17
const kinds = new Map(Object.entries(KIND_TAGS).map(([kind, tag]) => [tag, kind as RecordKind]))

/** Keys of two numbers in the form of a record: the format of the store, and its applied index. */
export const FORMAT_KEY = rowKey(0, 0, 0)
export const APPLIED_KEY = rowKey(1, 0, 0)
/** The key of the record of an installation. It has the form of a record, but does not belong to the state. */
export const INSTALLED_KEY = rowKey(10, 0, 0)
/** The key of the mark that the state is not that of the other peers. It does not belong to the state, either. */
export const DIVERGED_KEY = rowKey(11, 0, 0)

/** Returns whether the record describes this peer's rows, and is no part of the state that peers share. */
export function isOwnRecord(key: Uint8Array): boolean {
  return equals(key, INSTALLED_KEY) || equals(key, DIVERGED_KEY)
}

export function recordKey(kind: RecordKind, a: number, b: number): Uint8Array {
  return rowKey(KIND_TAGS[kind], a, b)
}

export function recordValue<K extends RecordKind>(key: Uint8Array, kind: K, value: RecordTypes[K]): Uint8Array {
  return sealed(key, encodeRecord(kind, value))
}

export function numberValue(key: Uint8Array, value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, value, true)
  return sealed(key, bytes)
}

/**
 * Returns true if the store has this format, and false if it is empty. Throws VersionMismatchError and CorruptionError.
 */
export function checkFormat(backend: Backend): boolean {
  const value = backend.get('records', FORMAT_KEY)
  if (value === undefined) return false
  const format = readNumber(backend, FORMAT_KEY, value)
  if (format !== STORE_FORMAT) throw new VersionMismatchError(`store ${backend.name}`, format, STORE_FORMAT)
  return true
}

export function readAppliedIndex(backend: Backend): number {
  const value = backend.get('records', APPLIED_KEY)
  if (value === undefined) throw corruption(backend, 'the applied index is missing')
  return readNumber(backend, APPLIED_KEY, value)
}

export function snapshotValue(key: Uint8Array, snapshot: RaftSnapshot): Uint8Array {
  return sealed(key, encode(raftSnapshot, snapshot))
}

const divergence = struct({ index: uint, hash: digestText, agreed: digestText })
/** After entry `index`, the rows have the hash `hash`, and those of a majority of the voters have `agreed`. */
export type Divergence = TypeOf<typeof divergence>

export function divergenceValue(value: Divergence): Uint8Array {
  return sealed(DIVERGED_KEY, encode(divergence, value))
}

/** The mark that the state is not that of the other peers; undefined if there is none. Throws CorruptionError. */
export function readDivergence(backend: Backend): Divergence | undefined {
  return readOwn(backend, DIVERGED_KEY, divergence, 'the mark of another state')
}

/** Throws CorruptionError unless the value is the record of this key. */
export function checkRecord(rows: RowsName, key: Uint8Array, value: Uint8Array): void {
  if (key.length !== RECORD_KEY_BYTES) throw corruption(rows, `a record has a key of ${key.length} bytes`)
  unsealed(rows, key[0] ?? 0, key, value)
}

/** The record of an installation; undefined if there is none. Throws CorruptionError. */
export function readInstalled(backend: Backend): RaftSnapshot | undefined {
  return readOwn(backend, INSTALLED_KEY, raftSnapshot, 'the installed snapshot')
}

function readOwn<T>(backend: Backend, key: Uint8Array, codec: Codec<T>, what: string): T | undefined {
  const value = backend.get('records', key)
  if (value === undefined) return undefined
  try {
    return decode(codec, unsealed(backend, key[0] ?? 0, key, value))
  } catch (error) {
    if (error instanceof CodecError) throw corruption(backend, `${what}: ${error.message}`)
    throw error
  }
}

/** Returns which record of the state has the key, or undefined if none can have it. */
export function recordOfKey(key: Uint8Array): Pick<StateRecord, 'kind' | 'a' | 'b'> | undefined {
  const kind = key.length === RECORD_KEY_BYTES ? kinds.get(key[0] ?? 0) : undefined
  return kind && { kind, a: getUint53(viewOf(key), 1), b: getUint53(viewOf(key), 9) }
}

/**
 * Yields each record in the order of kinds: sessions and files before records that name them. Throws CorruptionError.
 */
export function* readRecords(backend: Backend): Iterable<StateRecord> {
  let row = 0
  for (const [key, value] of backend.entries('records', new Uint8Array(0))) {
    const kind = kinds.get(key[0] ?? 0)
    if (kind !== undefined) yield readRecord(backend, row, kind, key, value)
    row++
  }
}

function readRecord(backend: Backend, row: number, kind: RecordKind, key: Uint8Array, value: Uint8Array): StateRecord {
  if (key.length !== RECORD_KEY_BYTES) throw corruption(backend, `a record has a key of ${key.length} bytes`)
  const view = viewOf(key)
  try {
    const decoded = decodeRecord(kind, unsealed(backend, row, key, value))
    // The compiler cannot follow that the kind decides the type of the value.
    return { kind, a: getUint53(view, 1), b: getUint53(view, 9), value: decoded } as StateRecord
  } catch (error) {
    if (error instanceof CodecError) throw corruption(backend, `${kind} record in row ${row}: ${error.message}`)
    throw error
  }
}

/** Rows may come from another peer: a checksum that matches says nothing about what the row holds. */
export function readNumber(backend: RowsName, key: Uint8Array, value: Uint8Array): number {
  const payload = unsealed(backend, key[0] ?? 0, key, value)
  const number = payload.length === 8 ? viewOf(payload).getFloat64(0, true) : NaN
  if (!Number.isSafeInteger(number) || number < 0) {
    throw corruption(backend, `the record in row ${key[0] ?? 0} is no number`)
  }
  return number
}

function sealed(key: Uint8Array, payload: Uint8Array): Uint8Array {
  const value = new Uint8Array(4 + payload.length)
  new DataView(value.buffer).setUint32(0, crc32c(payload, crc32c(key)), true)
  value.set(payload, 4)
  return value
}

function unsealed(backend: RowsName, row: number, key: Uint8Array, value: Uint8Array): Uint8Array {
  const payload = value.slice(4)
  if (value.length < 4 || crc32c(payload, crc32c(key)) !== viewOf(value).getUint32(0, true)) {
    throw corruption(backend, `the checksum of the record in row ${row} does not match`)
  }
  return payload
}

function rowKey(tag: number, a: number, b: number): Uint8Array {
  const key = new Uint8Array(RECORD_KEY_BYTES)
  const view = new DataView(key.buffer)
  key[0] = tag
  setUint53(view, 1, a)
  setUint53(view, 9, b)
  return key
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function setUint53(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32))
  view.setUint32(at + 4, value % 2 ** 32)
}

function getUint53(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
}
