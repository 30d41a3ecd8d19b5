/**
 * The changes between two checkpoints, in memory.
 *
 * A memtable holds the newest version of each changed page and record. It holds removed pages as ranges, so the removal
 * of a large file costs as much as the removal of one page.
 */
import { PairMap, type RecordKind, type RecordTypes, type StateRecord, type StoredPage } from '../state/index.js'
import { equals } from 'uint8arrays/equals'
import type { Backend, BackendChange, BackendTable } from './backend.js'
import { PageEncoder, pageKey } from './page-rows.js'
import { RangeSet } from './range-set.js'
import {
  APPLIED_KEY,
  FORMAT_KEY,
  numberValue,
  isOwnRecord,
  recordKey,
  recordOfKey,
  recordValue,
  STORE_FORMAT
} from './record-rows.js'
import { keyAfter } from './row-bytes.js'

// Estimates of the memory for maps, keys and objects, on the high side. A page adds its bytes.
const PAGE_OVERHEAD_BYTES = 256
const RANGE_BYTES = 128
/** A commit looks up the rows of removed pages this many at a time, because a range may have many. */
const KEYS_AT_ONCE = 128
/** Greater than the key of any record, damaged or not. */
const AFTER_RECORDS = new Uint8Array(64).fill(0xff)
const RECORD_BYTES: { readonly [K in RecordKind]: number } = {
  config: 4096,
  founding: 4096,
  epochFloor: 128,
  session: 512,
  file: 1024,
  mapping: 192,
  owner: 256,
  answer: 1024
}

/** A page whose bytes are lost: see `StateStore.lose`. */
export interface LostPage {
  readonly version: number
  readonly bytes: 'lost'
}

type Records = { readonly [K in RecordKind]: PairMap<RecordTypes[K] | null> }

/** Collects the changes of the entries between two checkpoints. */
export class Memtable {
  private readonly written = new PairMap<StoredPage | LostPage>()
  /** Removed pages by file. A page that an entry wrote after its removal is also in `written`. */
  private readonly removed = new Map<number, RangeSet>()
  /** null: an entry removed the record. */
  private readonly records: Records = {
    config: new PairMap(),
    founding: new PairMap(),
    epochFloor: new PairMap(),
    session: new PairMap(),
    file: new PairMap(),
    mapping: new PairMap(),
    owner: new PairMap(),
    answer: new PairMap()
  }
  /** The memtable has every record of the state, so the backend must have no other. */
  private hasAllRecords = false
  /** Estimate of the memory that the memtable takes. */
  bytes = 0

  /** Returns null for a removed page, and undefined for a page without a change. */
  page(file: number, page: number): StoredPage | LostPage | null | undefined {
    return this.written.get(file, page) ?? (this.hides(file, page) ? null : undefined)
  }

  /** Returns whether an entry removed the page, so that older versions of it no longer count. */
  hides(file: number, page: number): boolean {
    return this.removed.get(file)?.has(page) ?? false
  }

  /** Numbers of the file's pages in this memtable, in any order. */
  pagesOf(file: number): Iterable<number> {
    return this.written.inner(file).keys()
  }

  /** Keeps `stored.bytes`, which the caller no longer changes. */
  write(file: number, page: number, stored: StoredPage | LostPage): void {
    const replaced = this.written.set(file, page, stored)
    this.bytes += sizeOf(stored) - sizeOf(replaced)
  }

  /** Removes the pages from `first` up to but without `end`. */
  remove(file: number, first: number, end: number): void {
    for (const page of [...this.pagesOf(file)]) {
      if (page < first || page >= end) continue
      this.bytes -= sizeOf(this.written.delete(file, page))
    }
    let ranges = this.removed.get(file)
    if (ranges === undefined) this.removed.set(file, (ranges = new RangeSet()))
    const before = ranges.size
    ranges.add(first, end)
    this.bytes += (ranges.size - before) * RANGE_BYTES
  }

  /** undefined removes the record. */
  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void {
    const table: PairMap<RecordTypes[K] | null> = this.records[kind]
    const before = table.size
    table.set(a, b, value ?? null)
    if (table.size > before) this.bytes += RECORD_BYTES[kind]
  }

  /** Takes all records of the state, because those in the backend are damaged. */
  putAll(records: Iterable<StateRecord>): void {
    for (const { kind, a, b, value } of records) this.put(kind, a, b, value)
    this.hasAllRecords = true
  }

  /**
   * Yields the rows that bring `backend` to the state after log index `appliedIndex`. Encodes each row when the backend
   * asks for it.
   */
  *changes(appliedIndex: number, backend: Pick<Backend, 'keys'>): Iterable<BackendChange> {
    yield { table: 'records', key: FORMAT_KEY, value: numberValue(FORMAT_KEY, STORE_FORMAT) }
    yield { table: 'records', key: APPLIED_KEY, value: numberValue(APPLIED_KEY, appliedIndex) }
    if (this.hasAllRecords) yield* this.strayRecords(backend)
    for (const kind of Object.keys(this.records) as RecordKind[]) yield* this.recordChanges(kind)
    // Removals first: an entry may have written a page again after it removed the page.
    for (const [file, ranges] of this.removed) {
      for (const { first, end } of ranges) yield* removals(backend, pageKey(file, first), pageKey(file, end))
    }
    const encoder = new PageEncoder()
    // In the order of keys, in which LMDB finds the place of a row near that of the row before.
    for (const file of [...this.written.firsts()].sort((a, b) => a - b)) {
      for (const [page, { version, bytes }] of [...this.written.inner(file)].sort(([a], [b]) => a - b)) {
        const { key, head, body } = encoder.encode(file, page, version, bytes ?? 'zeros')
        yield { table: 'heads', key, value: head }
        yield { table: 'bodies', key, value: body }
      }
    }
  }

  /** Yields the removal of each record in `backend` that the state does not have. */
  private *strayRecords(backend: Pick<Backend, 'keys'>): Iterable<BackendChange> {
    for (const key of keysBetween(backend, 'records', new Uint8Array(0), AFTER_RECORDS)) {
      if (!this.isRecord(key)) yield { table: 'records', key, value: undefined }
    }
  }

  private isRecord(key: Uint8Array): boolean {
    if (equals(key, FORMAT_KEY) || equals(key, APPLIED_KEY) || isOwnRecord(key)) return true
    const named = recordOfKey(key)
    return named !== undefined && this.records[named.kind].get(named.a, named.b) !== undefined
  }

  private *recordChanges<K extends RecordKind>(kind: K): Iterable<BackendChange> {
    const table: PairMap<RecordTypes[K] | null> = this.records[kind]
    for (const [a, b, value] of table.entries()) {
      const key = recordKey(kind, a, b)
      yield { table: 'records', key, value: value === null ? undefined : recordValue(key, kind, value) }
    }
  }
}

function sizeOf(stored: StoredPage | LostPage | undefined): number {
  if (stored === undefined) return 0
  const { bytes } = stored
  return PAGE_OVERHEAD_BYTES + (bytes === undefined || bytes === 'lost' ? 0 : bytes.length)
}

/** Yields the removal of each row that `backend` has in the range. */
function* removals(backend: Pick<Backend, 'keys'>, first: Uint8Array, end: Uint8Array): Iterable<BackendChange> {
  // Both tables, because damage may have left one row of a page without the other.
  for (const table of ['heads', 'bodies'] as const)
    for (const key of keysBetween(backend, table, first, end)) yield { table, key, value: undefined }
}

/** Yields the keys in the range. The caller may remove each before it asks for the next. */
function* keysBetween(
  backend: Pick<Backend, 'keys'>,
  table: BackendTable,
  first: Uint8Array,
  end: Uint8Array
): Iterable<Uint8Array> {
  let keys: Uint8Array[]
  do {
    keys = backend.keys(table, first, end, KEYS_AT_ONCE)
    yield* keys
    const last = keys.at(-1)
    if (last !== undefined) first = keyAfter(last)
  } while (keys.length === KEYS_AT_ONCE)
}
