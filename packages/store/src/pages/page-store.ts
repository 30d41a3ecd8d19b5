/**
 * The page store: two memtables over a backend, as in a log-structured merge tree.
 *
 * Changes go to the active memtable. `freeze` sets that memtable aside with its log index, and `flush` writes it to the
 * backend in one transaction while further entries change a new active memtable. Reads look in the active memtable,
 * then in the frozen one, then in the backend. Each memtable may take half of `maxMemtableBytes`; a caller that finds
 * `isFull` waits for the flush before it applies more.
 */
import { assert, type RaftSnapshot } from '@quire/protocol'
import {
  DamagedPageError,
  type RecordKind,
  type RecordTypes,
  type RestoredState,
  type StateRecord,
  type StateStore,
  type StoredPage
} from '../state/index.js'
import type { Backend, BackendChange, BackendUsage, BackendView } from './backend.js'
import { Memtable, type LostPage } from './memtable.js'
import { PageReader } from './page-reader.js'
import {
  fileKeyPrefix,
  findDamage,
  PAGE_KEY_BYTES,
  pageKey,
  pageOfKey,
  readVersion,
  type DamagedPage
} from './page-rows.js'
import {
  checkFormat,
  DIVERGED_KEY,
  divergenceValue,
  INSTALLED_KEY,
  readAppliedIndex,
  readDivergence,
  readInstalled,
  readRecords,
  type Divergence
} from './record-rows.js'
import { corruption } from './row-bytes.js'
import { SnapshotReader } from './snapshot-pieces.js'

export interface PageStoreInit {
  /** The store owns the backend from here on. */
  readonly backend: Backend
  /** Limit of both memtables together, which one log entry may exceed. Default 32 MiB. */
  readonly maxMemtableBytes?: number
  /** An entry has met a damaged page, of which nothing is left now but its version. */
  readonly onLost?: (file: number, page: number) => void
}

/** The rows of one commit, and their place for error messages. */
export interface RowsView {
  readonly view: BackendView
  readonly name: string
}

export interface PageStore extends StateStore {
  /**
   * The records in the backend, for one iteration at the start. The store reads pages when it needs them. The iteration
   * throws CorruptionError.
   */
  readonly restored: RestoredState
  /** The backend has everything up to this log index, so a recovery starts from the next entry. */
  readonly durableIndex: number
  /**
   * The record of an installation, durable with the state of the snapshot, until `forgetInstalled` or the first flush
   * of a later entry; undefined if there is none.
   */
  readonly installed: RaftSnapshot | undefined
  /** Estimate of the memory that the memtables take. */
  readonly memtableBytes: number
  /** The active memtable has reached its limit. */
  readonly isFull: boolean
  /** A frozen memtable waits for its flush. */
  readonly hasFrozen: boolean
  /** Returns what the store knows of the page if it is damaged. Returns undefined if the page is good or absent. */
  damage(file: number, page: number): DamagedPage | undefined
  /**
   * Puts a good copy in place of a damaged page. It has the version that the page has after the last entry. Undefined
   * removes what is left of a page that should not be there.
   */
  repair(file: number, page: number, copy: StoredPage | undefined): void
  /** Sets the active memtable aside as the state after log index `appliedIndex`. Requires that none is frozen. */
  freeze(appliedIndex: number): void
  /**
   * Writes the frozen memtable, and resolves when it is durable. Rejects with NoSpaceError or another error of the
   * backend; the caller may then repeat the flush.
   */
  flush(): Promise<void>
  /**
   * Removes the record `installed`, and resolves when that is durable. Requires that no memtable is frozen until then.
   * Rejects as `flush` does.
   */
  forgetInstalled(): Promise<void>
  /**
   * Returns a reader of the state at `durableIndex`, which the caller closes. The backend reuses no space that a flush
   * frees while the reader is open. Throws CorruptionError.
   */
  openSnapshot(): SnapshotReader
  /**
   * Drops the memtables, closes the backend, and takes the one that `adopt` resolves with. From then on, `restored` has
   * the records of that one. The caller waits for the last `flush` to settle first. After a rejection the store is
   * closed.
   */
  replace(adopt: () => Promise<Backend>): Promise<void>
  /**
   * Returns the rows as of `durableIndex`. The caller closes the view: the backend reuses no space that a flush frees
   * while it is open.
   */
  openView(): RowsView
  /** The next flush writes all records of the state anew, and removes all others. `records` are those of the state. */
  rewriteRecords(records: Iterable<StateRecord>): void
  /** The mark that the state is not that of the other peers; undefined if there is none. */
  readonly diverged: Divergence | undefined
  /** Sets the mark, and resolves when it is durable. The caller waits for the last `flush` to settle first. */
  markDiverged(divergence: Divergence): Promise<void>
  usage(): BackendUsage
  /** Closes the backend and drops the memtables. The caller waits for the last `flush` to settle first. */
  close(): Promise<void>
}

/** Throws VersionMismatchError if the backend has another format, and CorruptionError if it is damaged. */
export function createPageStore(init: PageStoreInit): PageStore {
  return new MemtableStore(init)
}

const FORGET_INSTALLED: BackendChange = { table: 'records', key: INSTALLED_KEY, value: undefined }

interface FrozenMemtable {
  readonly memtable: Memtable
  readonly appliedIndex: number
}

/** Keeps changes in memtables until a flush writes them to the backend. */
class MemtableStore implements PageStore {
  restored!: RestoredState
  durableIndex = 0
  installed: RaftSnapshot | undefined
  diverged: Divergence | undefined
  private active = new Memtable()
  private frozen: FrozenMemtable | undefined
  private readonly reader = new PageReader()

  private backend: Backend
  private readonly maxMemtableBytes: number

  constructor(private readonly init: PageStoreInit) {
    this.backend = init.backend
    this.maxMemtableBytes = init.maxMemtableBytes ?? 32 * 1024 * 1024
    this.readState()
  }

  private readState(): void {
    const { backend } = this
    const isFresh = !checkFormat(backend)
    if (isFresh) refuseRows(backend)
    this.durableIndex = isFresh ? 0 : readAppliedIndex(backend)
    this.installed = readInstalled(backend)
    this.diverged = readDivergence(backend)
    this.restored = { appliedIndex: this.durableIndex, records: readRecords(backend) }
  }

  // -- state store

  read(file: number, page: number): StoredPage | undefined {
    const changed = this.changed(file, page)
    if (changed === undefined) return this.reader.read(this.backend, file, page)
    if (changed === null) return undefined
    if (changed.bytes === 'lost') throw this.lost(file, page)
    return changed
  }

  version(file: number, page: number): number {
    const changed = this.changed(file, page)
    return changed === undefined ? readVersion(this.backend, pageKey(file, page)) : (changed?.version ?? 0)
  }

  pages(file: number): Iterable<number> {
    const pages = new Set<number>()
    const older = this.frozen?.memtable
    // A page that has lost its head is still a page.
    for (const table of ['heads', 'bodies'] as const) {
      for (const [key] of this.backend.entries(table, fileKeyPrefix(file))) {
        if (key.length !== PAGE_KEY_BYTES) throw corruption(this.backend, `a page of file ${file} has a damaged key`)
        const page = pageOfKey(key)
        if (older?.hides(file, page) !== true) pages.add(page)
      }
    }
    for (const page of older?.pagesOf(file) ?? []) pages.add(page)
    for (const page of [...pages]) if (this.active.hides(file, page)) pages.delete(page)
    for (const page of this.active.pagesOf(file)) pages.add(page)
    return pages
  }

  write(file: number, page: number, stored: StoredPage): void {
    this.active.write(file, page, stored)
  }

  lose(file: number, page: number, version: number): void {
    this.active.write(file, page, { version, bytes: 'lost' })
    this.init.onLost?.(file, page)
  }

  damage(file: number, page: number): DamagedPage | undefined {
    const changed = this.changed(file, page)
    if (changed === undefined) return findDamage(this.backend, pageKey(file, page))
    if (changed?.bytes !== 'lost') return undefined
    return { head: { version: changed.version, mark: undefined } }
  }

  repair(file: number, page: number, copy: StoredPage | undefined): void {
    if (copy === undefined) this.active.remove(file, page, page + 1)
    else this.active.write(file, page, copy)
  }

  remove(file: number, first: number, end: number): void {
    this.active.remove(file, first, end)
  }

  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void {
    this.active.put(kind, a, b, value)
  }

  // -- memtables

  get memtableBytes(): number {
    return this.active.bytes + (this.frozen?.memtable.bytes ?? 0)
  }

  get isFull(): boolean {
    return this.active.bytes >= this.maxMemtableBytes / 2
  }

  get hasFrozen(): boolean {
    return this.frozen !== undefined
  }

  freeze(appliedIndex: number): void {
    assert(this.frozen === undefined, `freeze at ${appliedIndex}, already frozen at ${this.frozen?.appliedIndex}`)
    assert(appliedIndex >= this.durableIndex, `freeze at ${appliedIndex}, durable at ${this.durableIndex}`)
    this.frozen = { memtable: this.active, appliedIndex }
    this.active = new Memtable()
  }

  async flush(): Promise<void> {
    if (this.frozen === undefined) return
    const { memtable, appliedIndex } = this.frozen
    await this.backend.commit(this.changes(memtable, appliedIndex), memtable.bytes)
    // Only now, because the memtable answers reads until the backend has the rows.
    this.durableIndex = appliedIndex
    if (this.isOutdated(appliedIndex)) this.installed = undefined
    this.frozen = undefined
  }

  async forgetInstalled(): Promise<void> {
    if (this.installed === undefined) return
    assert(this.frozen === undefined, 'the record of an installation is removed while a memtable is frozen')
    await this.backend.commit([FORGET_INSTALLED])
    this.installed = undefined
  }

  openSnapshot(): SnapshotReader {
    const view = this.backend.view()
    try {
      return new SnapshotReader(view, this.backend)
    } catch (error) {
      view.close()
      throw error
    }
  }

  openView(): RowsView {
    return { view: this.backend.view(), name: this.backend.name }
  }

  rewriteRecords(records: Iterable<StateRecord>): void {
    this.active.putAll(records)
  }

  async markDiverged(divergence: Divergence): Promise<void> {
    await this.backend.commit([{ table: 'records', key: DIVERGED_KEY, value: divergenceValue(divergence) }])
    this.diverged = divergence
  }

  async replace(adopt: () => Promise<Backend>): Promise<void> {
    await this.backend.close()
    this.backend = await adopt()
    this.active = new Memtable()
    this.frozen = undefined
    this.readState()
  }

  usage(): BackendUsage {
    return this.backend.usage()
  }

  async close(): Promise<void> {
    await this.backend.close()
  }

  private *changes(memtable: Memtable, appliedIndex: number): Iterable<BackendChange> {
    if (this.isOutdated(appliedIndex)) yield FORGET_INSTALLED
    yield* memtable.changes(appliedIndex, this.backend)
  }

  /**
   * Tells whether the record of an installation is of no use to a state at `appliedIndex`. An entry after the snapshot
   * is applied only when the log has it durably, and then the log starts after the snapshot.
   */
  private isOutdated(appliedIndex: number): boolean {
    return this.installed !== undefined && this.installed.index < appliedIndex
  }

  private lost(file: number, page: number): DamagedPageError {
    return new DamagedPageError(this.backend.name, `page ${page} of file ${file}: its bytes are lost`, file, page)
  }

  /** Looks the page up in the memtables: null if an entry removed it, undefined if only the backend knows. */
  private changed(file: number, page: number): StoredPage | LostPage | null | undefined {
    const changed = this.active.page(file, page)
    return changed === undefined ? this.frozen?.memtable.page(file, page) : changed
  }
}

/** Throws CorruptionError for rows without a format. They are not the page store's, or its first row is lost. */
function refuseRows(backend: Backend): void {
  for (const _row of backend.entries('records', new Uint8Array(0))) {
    throw corruption(backend, 'the store has rows and no format')
  }
}
