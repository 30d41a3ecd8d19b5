/**
 * The page store: changes in memory, in two generations, over a backend.
 *
 * New changes go to the newest table. `freeze` sets that table aside with the log index that it stands at, and `flush` writes it to
 * the backend in one transaction, while further entries change a fresh table. Reads look in the newest, then the frozen table, then
 * the backend. Each generation may hold half of `maxTableBytes`; a caller that sees `full` must wait for the flush before it applies more.
 */
import { assert } from '@quire/protocol'
import type { RecordKind, RecordTypes, RestoredState, StateStore, StoredPage } from '../state/index.js'
import type { Backend } from './backend.js'
import {
  checkFormat,
  corruption,
  fileKeyPrefix,
  PAGE_KEY_BYTES,
  pageKey,
  pageOfKey,
  readAppliedIndex,
  readPage,
  readRecords,
  readVersion
} from './layout.js'
import { ChangeTable } from './table.js'

export interface PageStoreInit {
  /** Belongs to the store from here on. */
  readonly backend: Backend
  /** Changed pages and records held in memory, both generations together. Overrun by one log entry at most. Default 32 MiB. */
  readonly maxTableBytes?: number
}

export interface PageStore extends StateStore {
  /** What the backend holds: to be walked once, at the start. Its pages are read as they are needed. Throws CorruptionError. */
  readonly restored: RestoredState
  /** Log index up to which everything is on disk: entries up to it are not needed to recover. */
  readonly durableIndex: number
  /** Memory held by changes, an estimate. */
  readonly tableBytes: number
  /** The newest generation has reached its bound. */
  readonly full: boolean
  /** A frozen generation is not on disk yet. */
  readonly frozen: boolean
  /** Sets the newest generation aside: the state after log index `appliedIndex`. Only while none is frozen. */
  freeze(appliedIndex: number): void
  /** Writes the frozen generation and resolves when it is durable. Rejects with NoSpaceError or what the backend reports; may be repeated. */
  flush(): Promise<void>
  /** Closes the backend; what is not flushed is dropped. After the last `flush` has settled. */
  close(): Promise<void>
}

/** Throws VersionMismatchError where another format wrote the backend, and CorruptionError. */
export function createPageStore(init: PageStoreInit): PageStore {
  return new Store(init.backend, init.maxTableBytes ?? 32 * 1024 * 1024)
}

class Store implements PageStore {
  readonly restored: RestoredState
  durableIndex: number
  private newest = new ChangeTable()
  private old: { readonly table: ChangeTable; readonly appliedIndex: number } | undefined

  constructor(
    private readonly backend: Backend,
    private readonly maxTableBytes: number
  ) {
    const isFresh = !checkFormat(backend)
    if (isFresh) refuseRows(backend)
    this.durableIndex = isFresh ? 0 : readAppliedIndex(backend)
    this.restored = { appliedIndex: this.durableIndex, records: readRecords(backend) }
  }

  // -- state store

  read(file: number, page: number): StoredPage | undefined {
    const changed = this.changed(file, page)
    return changed === undefined ? readPage(this.backend, pageKey(file, page)) : (changed ?? undefined)
  }

  version(file: number, page: number): number {
    const changed = this.changed(file, page)
    return changed === undefined ? readVersion(this.backend, pageKey(file, page)) : (changed?.version ?? 0)
  }

  pages(file: number): Iterable<number> {
    const pages = new Set<number>()
    const older = this.old?.table
    for (const [key] of this.backend.entries('heads', fileKeyPrefix(file))) {
      if (key.length !== PAGE_KEY_BYTES) throw corruption(this.backend, `a page of file ${file} has a damaged key`)
      const page = pageOfKey(key)
      if (older?.hides(file, page) !== true) pages.add(page)
    }
    for (const page of older?.pagesOf(file) ?? []) pages.add(page)
    for (const page of [...pages]) if (this.newest.hides(file, page)) pages.delete(page)
    for (const page of this.newest.pagesOf(file)) pages.add(page)
    return pages
  }

  write(file: number, page: number, stored: StoredPage): void {
    this.newest.write(file, page, stored)
  }

  remove(file: number, first: number, end: number): void {
    this.newest.remove(file, first, end)
  }

  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void {
    this.newest.put(kind, a, b, value)
  }

  // -- generations

  get tableBytes(): number {
    return this.newest.bytes + (this.old?.table.bytes ?? 0)
  }

  get full(): boolean {
    return this.newest.bytes >= this.maxTableBytes / 2
  }

  get frozen(): boolean {
    return this.old !== undefined
  }

  freeze(appliedIndex: number): void {
    assert(this.old === undefined, `frozen at ${this.old?.appliedIndex}, again at ${appliedIndex}`)
    assert(appliedIndex >= this.durableIndex, `frozen at ${appliedIndex}, durable is ${this.durableIndex}`)
    this.old = { table: this.newest, appliedIndex }
    this.newest = new ChangeTable()
  }

  async flush(): Promise<void> {
    const old = this.old
    if (old === undefined) return
    await this.backend.commit(old.table.changes(old.appliedIndex, this.backend), old.table.bytes)
    // Only now: until the backend answers from these rows, the table does.
    this.durableIndex = old.appliedIndex
    this.old = undefined
  }

  async close(): Promise<void> {
    await this.backend.close()
  }

  /** As the generations in memory have it. null: removed; undefined: the backend knows. */
  private changed(file: number, page: number): StoredPage | null | undefined {
    const newest = this.newest.page(file, page)
    return newest === undefined ? this.old?.table.page(file, page) : newest
  }
}

/** A store without a format has never been written; rows in it are not ours, or its first row is lost. */
function refuseRows(backend: Backend): void {
  for (const _row of backend.entries('records', new Uint8Array(0))) {
    throw corruption(backend, 'the store has rows and no format')
  }
}
