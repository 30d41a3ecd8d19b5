/**
 * One generation of changes: the newest pages and records since the last freeze, each once however often it changed. Pages that were
 * removed are kept as ranges: removing a large file costs the same as removing one page.
 */
import { PairMap, type RecordKind, type RecordTypes, type StoredPage } from '../state/index.js'
import type { Backend, BackendChange } from './backend.js'
import {
  APPLIED_KEY,
  encodePage,
  FORMAT_KEY,
  keyAfter,
  numberValue,
  pageKey,
  recordKey,
  recordValue,
  STORE_FORMAT
} from './layout.js'
import { RangeSet } from './range-set.js'

// What an entry costs beside its page's bytes: maps, keys, objects. Rough, and on the high side.
const PAGE_OVERHEAD_BYTES = 256
const RANGE_BYTES = 128
/** Rows that are looked for at a time where pages were removed. */
const KEYS_AT_ONCE = 128
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

type Records = { readonly [K in RecordKind]: PairMap<RecordTypes[K] | null> }

export class ChangeTable {
  private readonly pageTable = new PairMap<StoredPage>()
  /** Pages removed in this generation, by file. A page that was written afterwards is in `pageTable`. */
  private readonly removed = new Map<number, RangeSet>()
  /** null: removed. */
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
  /** Estimate of the memory held. */
  bytes = 0

  /** null: removed. undefined: not changed in this generation. */
  page(file: number, page: number): StoredPage | null | undefined {
    return this.pageTable.get(file, page) ?? (this.hides(file, page) ? null : undefined)
  }

  /** The page was removed in this generation: what older ones say of it holds no more. */
  hides(file: number, page: number): boolean {
    return this.removed.get(file)?.has(page) ?? false
  }

  pagesOf(file: number): Iterable<number> {
    return this.pageTable.inner(file).keys()
  }

  write(file: number, page: number, stored: StoredPage): void {
    const replaced = this.pageTable.set(file, page, stored)
    this.bytes += stored.bytes.length - (replaced?.bytes.length ?? -PAGE_OVERHEAD_BYTES)
  }

  /** Removes the pages from `first` up to but without `end`. */
  remove(file: number, first: number, end: number): void {
    for (const page of [...this.pagesOf(file)]) {
      if (page < first || page >= end) continue
      const { bytes } = this.pageTable.delete(file, page)!
      this.bytes -= bytes.length + PAGE_OVERHEAD_BYTES
    }
    let ranges = this.removed.get(file)
    if (ranges === undefined) this.removed.set(file, (ranges = new RangeSet()))
    const before = ranges.size
    ranges.add(first, end)
    this.bytes += (ranges.size - before) * RANGE_BYTES
  }

  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void {
    const table: PairMap<RecordTypes[K] | null> = this.records[kind]
    const before = table.size
    table.set(a, b, value ?? null)
    if (table.size > before) this.bytes += RECORD_BYTES[kind]
  }

  /**
   * The rows that bring `backend` from the generation before to this one, at log index `appliedIndex`. Made as they are asked for, while
   * the backend writes them.
   */
  *changes(appliedIndex: number, backend: Pick<Backend, 'keys'>): Iterable<BackendChange> {
    yield { table: 'records', key: FORMAT_KEY, value: numberValue(FORMAT_KEY, STORE_FORMAT) }
    yield { table: 'records', key: APPLIED_KEY, value: numberValue(APPLIED_KEY, appliedIndex) }
    for (const kind of Object.keys(this.records) as RecordKind[]) yield* this.recordChanges(kind)
    // Before the pages, some of which were written anew after they were removed.
    for (const [file, ranges] of this.removed) {
      for (const { first, end } of ranges) yield* removals(backend, pageKey(file, first), pageKey(file, end))
    }
    for (const [file, page, stored] of this.pageTable.entries()) {
      const key = pageKey(file, page)
      const { head, body } = encodePage(key, stored)
      yield { table: 'heads', key, value: head }
      yield { table: 'bodies', key, value: body }
    }
  }

  private *recordChanges<K extends RecordKind>(kind: K): Iterable<BackendChange> {
    const table: PairMap<RecordTypes[K] | null> = this.records[kind]
    for (const [a, b, value] of table.entries()) {
      const key = recordKey(kind, a, b)
      yield { table: 'records', key, value: value === null ? undefined : recordValue(key, kind, value) }
    }
  }
}

/** Only pages that were written have rows; they are looked for a few at a time, because there may be many. */
function* removals(backend: Pick<Backend, 'keys'>, first: Uint8Array, end: Uint8Array): Iterable<BackendChange> {
  let keys: Uint8Array[]
  do {
    keys = backend.keys('heads', first, end, KEYS_AT_ONCE)
    for (const key of keys) {
      yield { table: 'heads', key, value: undefined }
      yield { table: 'bodies', key, value: undefined }
    }
    const last = keys.at(-1)
    if (last !== undefined) first = keyAfter(last)
  } while (keys.length === KEYS_AT_ONCE)
}
