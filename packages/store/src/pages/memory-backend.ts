/** A backend in memory for simulations and tests: commits complete when an injected scheduler says so, a crash undoes the rest. */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from './backend.js'

export interface MemoryStorageInit {
  readonly name?: string
  /** Calls back later, once, in virtual or real time: when a commit has reached the disk. */
  readonly schedule: (callback: () => void) => void
}

/** What survives a crash. Each `open` gives a backend over it, as a process that starts opens its files. */
export interface MemoryStorage {
  open(): Backend
  /** The process dies: its backends never answer again. A commit under way is lost, or kept whole where the disk had it already. */
  crash(options?: { readonly keepPending?: boolean }): void
  /** Another storage with the rows that are stored now. */
  copy(): MemoryStorage
  /** Commits fail with this error from now on; undefined: they succeed again. */
  failWith(error: Error | undefined): void
  /** Flips one bit of one stored value, as a bad disk would. Returns false when there is no such row. */
  damage(table: BackendTable, position: number, bit: number): boolean
  /** Rows stored. */
  readonly size: number
}

type Rows = Map<string, Uint8Array>

export function createMemoryStorage(init: MemoryStorageInit): MemoryStorage {
  return new Storage(init)
}

class Storage implements MemoryStorage {
  readonly name: string
  readonly tables = new Map<BackendTable, Rows>(BACKEND_TABLES.map((table) => [table, new Map()]))
  readonly schedule: (callback: () => void) => void
  failure: Error | undefined
  /** Raised at each crash: what older backends started does nothing any more. */
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
    const copy = new Storage({ name: this.name, schedule: this.schedule })
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

class MemoryBackend implements Backend {
  readonly name: string

  constructor(
    private readonly storage: Storage,
    private readonly life: number
  ) {
    this.name = storage.name
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    return this.storage.rows(table).get(toString(key, 'base16'))
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    const start = toString(prefix, 'base16')
    const rows = [...this.storage.rows(table)].filter(([key]) => key.startsWith(start))
    // Code units of lower-case hexadecimal digits order as the bytes do.
    rows.sort(([a], [b]) => (a < b ? -1 : 1))
    for (const [key, value] of rows) yield [fromString(key, 'base16'), value]
  }

  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[] {
    const [low, high] = [toString(first, 'base16'), toString(end, 'base16')]
    const keys = [...this.storage.rows(table).keys()].filter((key) => low <= key && key < high)
    return keys
      .sort()
      .slice(0, limit)
      .map((key) => fromString(key, 'base16'))
  }

  commit(changes: Iterable<BackendChange>): Promise<void> {
    return new Promise((resolve, reject) => {
      // The caller keeps its arrays, so what is stored are copies.
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
    return Promise.resolve()
  }
}
