/** The backend on LMDB: one environment of three databases with binary keys and values. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { endianness } from 'node:os'
import { dirname } from 'node:path'
import { CorruptionError, NoSpaceError } from '@quire/protocol'
import { open, type Database, type RootDatabase } from 'lmdb'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from './backend.js'

/** Rows written in one turn of the event loop, about a millisecond's worth: faults are served between two slices. */
const ROWS_PER_TURN = 128

/** Where LMDB's first page carries its mark, after the page's header. */
const MAGIC_OFFSET = 24
const MAGIC = 0xbeefc0de

/** LMDB needs a few pages beside the rows' own: with less than this left, a failed write is put down to lack of room. */
const SPARE_BYTES = 1024 * 1024

type Rows = Database<Uint8Array, Uint8Array>

export interface LmdbBackendInit {
  /** The database file; LMDB keeps its lock file beside it. Made where it is missing, its folder must exist. */
  readonly path: string
}

/** Throws CorruptionError for a file that is not LMDB's, and what LMDB throws where the file cannot be opened. */
export function createLmdbBackend(init: LmdbBackendInit): Backend {
  return new LmdbBackend(init.path)
}

class LmdbBackend implements Backend {
  private readonly root: RootDatabase<Uint8Array, Uint8Array>
  private readonly tables: ReadonlyMap<BackendTable, Rows>

  private closed: Promise<void> | undefined

  constructor(readonly name: string) {
    refuseForeign(name)
    this.root = open<Uint8Array, Uint8Array>({
      path: name,
      noSubdir: true,
      encoding: 'binary',
      keyEncoding: 'binary',
      // Offsets in the layout count on it (see docs/storage.md), also where the system's pages are larger.
      pageSize: 4096,
      // One big transaction at a time gains nothing from syncing after the commit, and plain LMDB is simpler to trust.
      overlappingSync: false
    })
    const table = (of: BackendTable): Rows =>
      this.root.openDB<Uint8Array, Uint8Array>(of, { encoding: 'binary', keyEncoding: 'binary' })
    this.tables = new Map(BACKEND_TABLES.map((of) => [of, table(of)]))
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    // lmdb lends its own buffer, which is longer than the value; its `length` says how long that is.
    const lent = this.rows(table).getBinaryFast(key)
    return lent === undefined ? undefined : plain(lent)
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    for (const { key, value } of this.rows(table).getRange({ start: prefix })) {
      if (!startsWith(key, prefix)) return
      yield [plain(key), plain(value)]
    }
  }

  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[] {
    return [...this.rows(table).getKeys({ start: first, end, limit })].map((key) => plain(key).slice())
  }

  async commit(changes: Iterable<BackendChange>): Promise<void> {
    const written = { bytes: 0 }
    try {
      // A child transaction: a plain one commits what it has so far when its callback throws.
      await this.root.childTransaction(() => this.write(changes, written))
      await this.root.flushed
    } catch (error) {
      const cause = await causeOf(error)
      if (isNoSpace(cause) || (isIoError(cause) && (await this.isDiskFull(written.bytes)))) {
        throw Object.assign(new NoSpaceError(this.name), { cause })
      }
      throw cause
    }
  }

  close(): Promise<void> {
    this.closed ??= this.root.close()
    return this.closed
  }

  // Inside the transaction every operation is done at once; what it returns is not a promise to wait for.
  private async write(changes: Iterable<BackendChange>, written: { bytes: number }): Promise<void> {
    // lmdb makes a second promise for the same commit; when both fail and one is not looked at, the process ends.
    this.root.committed.then(ignore, ignore)
    let rows = 0
    for (const { table, key, value } of changes) {
      if (value === undefined) void this.rows(table).remove(key)
      else void this.rows(table).put(key, value)
      written.bytes += value?.length ?? 0
      if (++rows % ROWS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** LMDB reports a write that the disk took only a part of as EIO, as it does a disk that is broken. */
  private async isDiskFull(neededBytes: number): Promise<boolean> {
    const disk = await statfs(dirname(this.name))
    return disk.bavail * disk.bsize < 2 * neededBytes + SPARE_BYTES
  }

  private rows(table: BackendTable): Rows {
    return this.tables.get(table) as Rows
  }
}

/** The same bytes, not as a Buffer, whose `slice` would not copy: who keeps the bytes must be able to. */
function plain(lent: Uint8Array): Uint8Array {
  return new Uint8Array(lent.buffer, lent.byteOffset, lent.length)
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, at) => key[at] === byte)
}

/**
 * Throws CorruptionError for a file that does not begin as LMDB's do. lmdb itself takes the process down when it opens one.
 */
function refuseForeign(path: string): void {
  if (!existsSync(path)) return
  const file = openSync(path, 'r')
  try {
    const start = new Uint8Array(MAGIC_OFFSET + 4)
    const length = readSync(file, start)
    // An empty file is one whose making was cut short: LMDB writes its first pages in one go.
    if (length === 0) return
    const magic = new DataView(start.buffer).getUint32(MAGIC_OFFSET, endianness() === 'LE')
    if (length < start.length || magic !== MAGIC) throw new CorruptionError(path, 0, 'not an LMDB file')
  } finally {
    closeSync(file)
  }
}

function ignore(): void {
  // Somebody else handles it.
}

/** lmdb rejects with an error whose `commitError` is a promise that rejects with the system's. */
async function causeOf(error: unknown): Promise<unknown> {
  const { commitError } = error as { readonly commitError?: PromiseLike<unknown> }
  if (commitError === undefined) return error
  try {
    await commitError
    return error
  } catch (cause) {
    return cause
  }
}

// What lmdb gives as `code`: LMDB's own number, or the system's.
const MDB_MAP_FULL = -30792
const EIO = 5
const ENOSPC = 28
const EDQUOT = 122

/** What LMDB or the system says when there is no room: a full map, a full disk, a quota. */
function isNoSpace(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return code === MDB_MAP_FULL || code === ENOSPC || code === EDQUOT || code === 'ENOSPC' || code === 'EDQUOT'
}

function isIoError(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === EIO
}
