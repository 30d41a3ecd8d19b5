/**
 * A backend in memory, for simulations and tests. The caller decides when commits reach the disk, and when it crashes.
 */
import { ClosedError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from './backend.js'

export interface MemoryStorageInit {
  readonly name?: string
  /** Calls `callback` once, after this call, when the commit is on disk. Time may be virtual or real. */
  readonly schedule: (callback: () => void) => void
}

/** The disk under backends in memory. Its rows survive a crash. */
export interface MemoryStorage {
  /** Opens a backend, as a process opens its files when it starts. */
  open(): Backend
  /**
   * Ends the process: its commits never settle. The storage drops a pending commit, or keeps all of it where
   * `keepPending` says that it had reached the disk.
   */
  crash(options?: { readonly keepPending?: boolean }): void
  /** Returns another storage with the same rows. */
  copy(): MemoryStorage
  /** Commits reject with this error from now on, or succeed again where it is undefined. */
  failWith(error: Error | undefined): void
  /**
   * Flips one bit of the value at `position` in the order of insertion, as a bad disk would. Returns false if there is
   * no such bit.
   */
  damage(table: BackendTable, position: number, bit: number): boolean
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
  readonly tables = new Map<BackendTable, Rows>(BACKEND_TABLES.map((table) => [table, new Map()]))
  readonly schedule: (callback: () => void) => void
  failure: Error | undefined
  /** The crashes so far. A commit that began before the last crash has no effect. */
  life = 0
  pending: readonly BackendChange[] | undefined

  constructor(init: MemoryStorageInit) {
    this.name = init.name ?? 'memory'
    this.schedule = init.schedule
  }

  get size(): number {
    return [...this.tables.values()].reduce((sum, rows) => sum + rows.size, 0)
  }

  open(): Backend {
    return new MemoryBackend(this, this.life)
  }

  crash({ keepPending = false } = {}): void {
    this.life++
    if (keepPending && this.pending !== undefined) this.write(this.pending)
    this.pending = undefined
  }

  copy(): MemoryStorage {
    const copy = new SharedRows({ name: this.name, schedule: this.schedule })
    for (const [table, rows] of this.tables) {
      for (const [key, value] of rows) copy.rows(table).set(key, value)
    }
    return copy
  }

  failWith(error: Error | undefined): void {
    this.failure = error
  }

  damage(table: BackendTable, position: number, bit: number): boolean {
    const value = [...this.rows(table).values()][position]
    const at = bit >> 3
    if (value === undefined || at >= value.length) return false
    value[at] = (value[at] as number) ^ (1 << (bit & 7))
    return true
  }

  rows(table: BackendTable): Rows {
    return this.tables.get(table) as Rows
  }

  write(changes: readonly BackendChange[]): void {
    for (const { table, key, value } of changes) {
      if (value === undefined) this.rows(table).delete(toString(key, 'base16'))
      else this.rows(table).set(toString(key, 'base16'), value)
    }
  }
}

/** Serves the rows of a storage until the next crash. */
class MemoryBackend implements Backend {
  readonly name: string
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
    const rows = [...this.readable(table)].filter(([key]) => key.startsWith(start))
    // Lower-case hexadecimal digits sort like the bytes that they stand for.
    rows.sort(([a], [b]) => (a < b ? -1 : 1))
    for (const [key, value] of rows) {
      this.refuseClosed()
      yield [fromString(key, 'base16'), value]
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

  commit(changes: Iterable<BackendChange>): Promise<void> {
    return new Promise((resolve, reject) => {
      // Copies, because the caller may reuse its arrays.
      const copies = [...changes].map((change) => ({ ...change, value: change.value?.slice() }))
      if (this.life !== this.storage.life) return
      this.storage.pending = copies
      this.storage.schedule(() => {
        if (this.life !== this.storage.life) return
        this.storage.pending = undefined
        if (this.storage.failure !== undefined) return reject(this.storage.failure)
        this.storage.write(copies)
        resolve()
      })
    })
  }

  close(): Promise<void> {
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
