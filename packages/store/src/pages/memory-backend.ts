/**
 * A backend in memory, for simulations and tests. The caller decides when commits reach the disk, and when it crashes.
 */
import { assert, ClosedError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import {
  BACKEND_TABLES,
  type Backend,
  type BackendChange,
  type BackendStorage,
  type BackendTable,
  type BackendUsage,
  type BackendView
} from './backend.js'

export interface MemoryStorageInit {
  readonly name?: string
  /** Calls `callback` once, after this call, when the commit is on disk. Time may be virtual or real. */
  readonly schedule: (callback: () => void) => void
}

/** The disk under backends in memory. Its rows survive a crash. */
export interface MemoryStorage extends BackendStorage {
  /**
   * Ends the process: its commits and its adoption never settle. The storage drops the pending one, or keeps all of it
   * where `keepPending` says that it had reached the disk.
   */
  crash(options?: { readonly keepPending?: boolean }): void
  /** Returns another storage with the same rows. Without a `schedule`, it shares that of this one. */
  copy(schedule?: MemoryStorageInit['schedule']): MemoryStorage
  /** Commits reject with this error from now on, or succeed again where it is undefined. */
  failWith(error: Error | undefined): void
  /**
   * Flips one bit of the value at `position` in the order of insertion, as a bad disk would. Returns false if there is
   * no such bit.
   */
  damage(table: BackendTable, position: number, bit: number): boolean
  /**
   * Loses the head at `position` in the order of insertion, so that its page is a body alone. Returns false if there is
   * no such head.
   */
  loseHead(position: number): boolean
  /** Number of rows. */
  readonly size: number
}

type Rows = Map<string, Uint8Array>

export function createMemoryStorage(init: MemoryStorageInit): MemoryStorage {
  return new SharedRows(init)
}

/** Holds the rows that its backends share. */
class SharedRows implements MemoryStorage {
  readonly name: string
  tables: ReadonlyMap<BackendTable, Rows> = emptyTables()
  readonly schedule: (callback: () => void) => void
  failure: Error | undefined
  /** The crashes so far. Work that began before the last crash has no effect. */
  life = 0
  /** Changes the rows, as the disk does at a moment of its own. */
  private pending: (() => void) | undefined
  private incoming: SharedRows | undefined
  private openViews = 0
  /** Bytes that have been replaced while views are open. Like those of LMDB, views hold back their space. */
  private heldBytes = 0
  private fileBytes = 0

  constructor(init: MemoryStorageInit) {
    this.name = init.name ?? 'memory'
    this.schedule = init.schedule
  }

  get size(): number {
    return [...this.tables.values()].reduce((sum, rows) => sum + rows.size, 0)
  }

  /** The file never becomes smaller. */
  usage(): BackendUsage {
    let usedBytes = 0
    for (const rows of this.tables.values()) for (const value of rows.values()) usedBytes += value.length
    this.fileBytes = Math.max(this.fileBytes, usedBytes + this.heldBytes)
    return { fileBytes: this.fileBytes, usedBytes }
  }

  viewOpened(): void {
    this.openViews++
  }

  viewClosed(): void {
    if (--this.openViews === 0) this.heldBytes = 0
  }

  open(): Backend {
    this.incoming = undefined
    this.openViews = 0
    this.heldBytes = 0
    return new MemoryBackend(this, this.life)
  }

  openIncoming(): Backend {
    this.incoming = new SharedRows({ name: `${this.name}.incoming`, schedule: this.schedule })
    this.incoming.failure = this.failure
    return this.incoming.open()
  }

  adoptIncoming(): Promise<void> {
    const { incoming } = this
    assert(incoming !== undefined, `${this.name} has no incoming rows to adopt`)
    return this.later(() => {
      this.tables = incoming.tables
      this.fileBytes = 0
      this.incoming = undefined
    }, false)
  }

  crash({ keepPending = false } = {}): void {
    this.life++
    if (this.incoming !== undefined) this.incoming.life++
    if (keepPending) this.pending?.()
    this.pending = undefined
  }

  /** Runs `change` when the disk gets to it, unless the process crashes before, or the disk has no room for it. */
  later(change: () => void, needsRoom: boolean): Promise<void> {
    const { life } = this
    return new Promise((resolve, reject) => {
      this.pending = change
      this.schedule(() => {
        if (life !== this.life) return
        this.pending = undefined
        if (needsRoom && this.failure !== undefined) return reject(this.failure)
        change()
        resolve()
      })
    })
  }

  copy(schedule = this.schedule): MemoryStorage {
    const copy = new SharedRows({ name: this.name, schedule })
    for (const [table, rows] of this.tables) {
      for (const [key, value] of rows) copy.rows(table).set(key, value)
    }
    return copy
  }

  failWith(error: Error | undefined): void {
    this.failure = error
    if (this.incoming !== undefined) this.incoming.failure = error
  }

  damage(table: BackendTable, position: number, bit: number): boolean {
    const value = [...this.rows(table).values()][position]
    const at = bit >> 3
    if (value === undefined || at >= value.length) return false
    value[at] = (value[at] as number) ^ (1 << (bit & 7))
    return true
  }

  loseHead(position: number): boolean {
    const heads = this.rows('heads')
    const name = [...heads.keys()][position]
    return name !== undefined && this.rows('bodies').has(name) && heads.delete(name)
  }

  rows(table: BackendTable): Rows {
    return this.tables.get(table) as Rows
  }

  write(changes: readonly BackendChange[]): void {
    for (const { table, key, value } of changes) {
      const name = toString(key, 'base16')
      const rows = this.rows(table)
      if (this.openViews > 0) this.heldBytes += rows.get(name)?.length ?? 0
      if (value === undefined) rows.delete(name)
      else rows.set(name, value)
    }
    this.usage()
  }
}

function emptyTables(): ReadonlyMap<BackendTable, Rows> {
  return new Map(BACKEND_TABLES.map((table) => [table, new Map()]))
}

function inOrder(rows: Rows, isWanted: (key: string) => boolean): (readonly [Uint8Array, Uint8Array])[] {
  return (
    [...rows]
      .filter(([key]) => isWanted(key))
      // Lower-case hexadecimal digits sort like the bytes that they stand for.
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [fromString(key, 'base16'), value])
  )
}

/** Serves the rows of a storage until the next crash. */
class MemoryBackend implements Backend {
  readonly name: string
  private readonly views = new Set<BackendView>()
  private closed = false

  constructor(
    private readonly storage: SharedRows,
    private readonly life: number
  ) {
    this.name = storage.name
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    return this.readable(table).get(toString(key, 'base16'))
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    const start = toString(prefix, 'base16')
    for (const row of inOrder(this.readable(table), (key) => key.startsWith(start))) {
      this.refuseClosed()
      yield row
    }
  }

  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[] {
    const [low, high] = [toString(first, 'base16'), toString(end, 'base16')]
    const keys = [...this.readable(table).keys()].filter((key) => low <= key && key < high)
    return keys
      .sort()
      .slice(0, limit)
      .map((key) => fromString(key, 'base16'))
  }

  usage(): BackendUsage {
    this.refuseClosed()
    return this.storage.usage()
  }

  view(): BackendView {
    // Values never change, so the view shares them.
    const tables = new Map(BACKEND_TABLES.map((table) => [table, new Map(this.readable(table))]))
    let isOpen = true
    this.storage.viewOpened()
    const refuseClosed = (): void => {
      this.refuseClosed()
      if (!isOpen) throw new ClosedError(this.name)
    }
    const view: BackendView = {
      *from(table, first) {
        refuseClosed()
        const low = toString(first, 'base16')
        for (const row of inOrder(tables.get(table)!, (key) => key >= low)) {
          refuseClosed()
          yield row
        }
      },
      close: () => {
        if (isOpen) this.storage.viewClosed()
        isOpen = false
        this.views.delete(view)
      }
    }
    this.views.add(view)
    return view
  }

  commit(changes: Iterable<BackendChange>): Promise<void> {
    let copies: BackendChange[]
    try {
      // Copies, because the caller may reuse its arrays.
      copies = [...changes].map((change) => ({ ...change, value: change.value?.slice() }))
    } catch (error) {
      return Promise.reject(error)
    }
    // A process that has crashed does nothing more.
    if (this.life !== this.storage.life) return new Promise(() => {})
    return this.storage.later(() => this.storage.write(copies), true)
  }

  close(): Promise<void> {
    for (const view of this.views) view.close()
    this.closed = true
    return Promise.resolve()
  }

  private readable(table: BackendTable): Rows {
    this.refuseClosed()
    return this.storage.rows(table)
  }

  private refuseClosed(): void {
    if (this.closed) throw new ClosedError(this.name)
  }
}
