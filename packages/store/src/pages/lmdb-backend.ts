/** The backend on LMDB: one environment of three databases with binary keys and values. */
import { NoSpaceError } from '@quire/protocol'
import { open, type Database, type RootDatabase } from 'lmdb'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from './backend.js'

/** Rows written in one turn of the event loop, about a millisecond's worth: faults are served between two slices. */
const ROWS_PER_TURN = 128

type Rows = Database<Uint8Array, Uint8Array>

export interface LmdbBackendInit {
  /** The database file; LMDB keeps its lock file beside it. Made where it is missing, its folder must exist. */
  readonly path: string
}

/** Throws what LMDB throws where the file cannot be opened. */
export function createLmdbBackend(init: LmdbBackendInit): Backend {
  return new LmdbBackend(init.path)
}

class LmdbBackend implements Backend {
  private readonly root: RootDatabase<Uint8Array, Uint8Array>
  private readonly tables: ReadonlyMap<BackendTable, Rows>

  constructor(readonly name: string) {
    this.root = open<Uint8Array, Uint8Array>({
      path: name,
      noSubdir: true,
      encoding: 'binary',
      keyEncoding: 'binary',
      // Offsets in the layout count on it (see docs/storage.md), also where the system's pages are larger.
      pageSize: 4096,
      // One big transaction at a time gains nothing from syncing after the commit, and plain LMDB is simpler to trust.
      overlappingSync: false,
    })
    const table = (of: BackendTable): Rows =>
      this.root.openDB<Uint8Array, Uint8Array>(of, { encoding: 'binary', keyEncoding: 'binary' })
    this.tables = new Map(BACKEND_TABLES.map((of) => [of, table(of)]))
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    // lmdb lends its own buffer, which is longer than the value; its `length` says how long that is.
    const lent = this.rows(table).getBinaryFast(key)
    return lent?.subarray(0, lent.length)
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    for (const { key, value } of this.rows(table).getRange({ start: prefix })) {
      if (!startsWith(key, prefix)) return
      yield [key, value]
    }
  }

  async commit(changes: Iterable<BackendChange>): Promise<void> {
    try {
      await this.root.transaction(() => this.write(changes))
      await this.root.flushed
    } catch (error) {
      throw isNoSpace(error) ? Object.assign(new NoSpaceError(this.name), { cause: error }) : error
    }
  }

  async close(): Promise<void> {
    await this.root.close()
  }

  // Inside the transaction every operation is done at once; what it returns is not a promise to wait for.
  private async write(changes: Iterable<BackendChange>): Promise<void> {
    let rows = 0
    for (const { table, key, value } of changes) {
      if (value === undefined) void this.rows(table).remove(key)
      else void this.rows(table).put(key, value)
      if (++rows % ROWS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  private rows(table: BackendTable): Rows {
    return this.tables.get(table) as Rows
  }
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, at) => key[at] === byte)
}

/** Everything that LMDB or the system says when there is no room: a full map, a full disk, a quota. Exported for its test. */
export function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code, message, cause } = error as Error & { code?: unknown }
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === MDB_MAP_FULL || code === ENOSPC || code === EDQUOT) return true
  if (/MDB_MAP_FULL|ENOSPC|EDQUOT|no space left|disk quota exceeded/i.test(message)) return true
  return isNoSpace(cause)
}
const MDB_MAP_FULL = -30792
const ENOSPC = 28
const EDQUOT = 122
