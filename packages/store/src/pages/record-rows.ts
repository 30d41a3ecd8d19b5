/**
 * The rows of records in a backend, and those that describe the rows as a whole.
 *
 *   value: CRC32C of key and value u32 | encoded record
 */
import { crc32c } from '@node-rs/crc32'
import {
  CodecError,
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
import { decodeRecord, encodeRecord, type RecordKind, type RecordTypes, type StateRecord } from '../state/index.js'
import type { Backend } from './backend.js'
import { corruption, getUint53, setUint53, viewOf, type RowsName } from './row-bytes.js'

/**
 * Rises with each change of the rows of pages (page-rows.ts) or records. The page store refuses every other format.
 */
export const STORE_FORMAT = 4

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
