/** One generation of changes: the newest pages and records since the last freeze, each once however often it changed. */
import { PairMap, type RecordKind, type RecordTypes, type StoredPage } from '../state/index.js'
import type { BackendChange } from './backend.js'
import {
  APPLIED_KEY,
  encodePage,
  FORMAT_KEY,
  numberValue,
  pageKey,
  recordKey,
  recordValue,
  STORE_FORMAT
} from './layout.js'

// What an entry costs beside its page's bytes: maps, keys, objects. Rough, and on the high side.
const PAGE_OVERHEAD_BYTES = 256
const RECORD_BYTES: { readonly [K in RecordKind]: number } = {
  config: 4096,
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
  /** null: removed. */
  private readonly records: Records = {
    config: new PairMap(),
    epochFloor: new PairMap(),
    session: new PairMap(),
    file: new PairMap(),
    mapping: new PairMap(),
    owner: new PairMap(),
    answer: new PairMap()
  }
  /** Estimate of the memory held. */
  bytes = 0

  page(file: number, page: number): StoredPage | undefined {
    return this.pageTable.get(file, page)
  }

  pagesOf(file: number): Iterable<number> {
    return this.pageTable.inner(file).keys()
  }

  write(file: number, page: number, stored: StoredPage): void {
    const replaced = this.pageTable.set(file, page, stored)
    this.bytes += stored.bytes.length - (replaced?.bytes.length ?? -PAGE_OVERHEAD_BYTES)
  }

  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void {
    const table: PairMap<RecordTypes[K] | null> = this.records[kind]
    const before = table.size
    table.set(a, b, value ?? null)
    if (table.size > before) this.bytes += RECORD_BYTES[kind]
  }

  /** The rows that bring a backend from the generation before to this one, at log index `appliedIndex`. Made as they are asked for. */
  *changes(appliedIndex: number): Iterable<BackendChange> {
    yield { table: 'records', key: FORMAT_KEY, value: numberValue(FORMAT_KEY, STORE_FORMAT) }
    yield { table: 'records', key: APPLIED_KEY, value: numberValue(APPLIED_KEY, appliedIndex) }
    for (const kind of Object.keys(this.records) as RecordKind[]) yield* this.recordChanges(kind)
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
