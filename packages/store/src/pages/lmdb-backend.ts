/** The backend on LMDB: one environment of three databases with binary keys and values. */
import { statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ClosedError, NoSpaceError } from '@quire/protocol'
import { syncFolder } from '@quire/raft/node-disk'
import { open, type Database, type RootDatabase, type Transaction } from 'lmdb'
import {
  BACKEND_TABLES,
  type Backend,
  type BackendChange,
  type BackendTable,
  type BackendUsage,
  type BackendView
} from './backend.js'
import { damaged, isIoError, lmdbError, REMEDY, silenceCommits } from './lmdb-errors.js'
import { allocateLockFile, checkLmdbFile, refuseIrregular } from './lmdb-guard.js'

/** A commit writes this many rows in one turn of the event loop, in about 1 ms. The peer serves faults in between. */
const ROWS_PER_TURN = 128

/** LMDB needs some pages besides those of the rows. The backend takes a disk with less than this left for full. */
const SPARE_BYTES = 1024 * 1024

type Rows = Database<Uint8Array, Uint8Array>

export interface LmdbBackendInit {
  /**
   * The database file. The backend makes the file if it is missing; the folder must exist. LMDB keeps a lock file
   * beside it.
   */
  readonly path: string
  /**
   * Lets another process read the file first. Default true. Without the probe, damage that LMDB does not survive ends
   * this process.
   */
  readonly probe?: boolean
}

/**
 * Opens or makes the file. Blocks until the probe has ended.
 *
 * Throws CorruptionError if the file is damaged or is not LMDB's, NoSpaceError if the disk has no room for LMDB's lock
 * file, and PageStoreError if LMDB cannot open the file. The message of each is one line that names the file.
 */
export function createLmdbBackend(init: LmdbBackendInit): Backend {
  return new LmdbBackend(init.path, init.probe ?? true)
}

const PAGE_BYTES = 4096

/** Numbers of pages. lmdb's types leave them out. */
interface TreeStats {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const

function openFile(path: string): RootDatabase<Uint8Array, Uint8Array> {
  const root = open<Uint8Array, Uint8Array>({
    ...BINARY,
    path,
    noSubdir: true,
    // The layout of pages depends on this size (see docs/storage.md), even if the system's pages are larger.
    pageSize: PAGE_BYTES,
    // One big transaction at a time gains nothing from a sync that overlaps the next one.
    overlappingSync: false
  })
  silenceCommits(root)
  return root
}

/** Keeps the tables as databases of one LMDB environment. */
class LmdbBackend implements Backend {
  readonly remedy = REMEDY
  private readonly root: RootDatabase<Uint8Array, Uint8Array>
  private readonly tables: ReadonlyMap<BackendTable, Rows>

  private readonly views = new Set<LmdbView>()
  private closed: Promise<void> | undefined
  /** Size of the file when it was opened, or after the last commit. LMDB never makes its file shorter. */
  private knownBytes = 0

  constructor(
    readonly name: string,
    probe: boolean
  ) {
    try {
      refuseIrregular(name)
    } catch (error) {
      throw lmdbError(error, name)
    }
    // Before the probe, which opens the environment too: on a full disk a hole in the lock file would look like damage.
    allocateLockFile(name)
    checkLmdbFile(name, probe)
    try {
      this.root = openFile(name)
      this.tables = new Map(BACKEND_TABLES.map((of) => [of, this.root.openDB<Uint8Array, Uint8Array>(of, BINARY)]))
      // LMDB flushes its file, and not its folder. Without this, a power failure could take the name of a new file
      // away, and with it all commits.
      syncFolder(dirname(name))
      this.checkSize()
    } catch (error) {
      throw lmdbError(error, name)
    }
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    try {
      // lmdb lends its buffer, which is longer than the value. `length` is the length of the value.
      const lent = this.readable(table).getBinaryFast(key)
      return lent === undefined ? undefined : unwrapped(lent)
    } catch (error) {
      throw lmdbError(error, this.name)
    }
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    try {
      for (const { key, value } of this.readable(table).getRange({ start: prefix })) {
        if (!startsWith(key, prefix)) return
        yield [unwrapped(key), unwrapped(value)]
        this.refuseClosed()
      }
    } catch (error) {
      throw lmdbError(error, this.name)
    }
  }

  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[] {
    try {
      return [...this.readable(table).getKeys({ start: first, end, limit })].map((key) => unwrapped(key).slice())
    } catch (error) {
      throw lmdbError(error, this.name)
    }
  }

  usage(): BackendUsage {
    this.refuseClosed()
    const trees = [this.root, ...this.tables.values()].map((table) => table.getStats() as TreeStats)
    const pages = trees.map((tree) => tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages)
    return { fileBytes: this.knownBytes, usedBytes: PAGE_BYTES * pages.reduce((sum, count) => sum + count, 0) }
  }

  view(): BackendView {
    this.refuseClosed()
    const view = new LmdbView(this.name, this.tables, this.root.useReadTransaction(), () => this.views.delete(view))
    this.views.add(view)
    return view
  }

  async commit(changes: Iterable<BackendChange>, bytes = 0): Promise<void> {
    const written = { bytes: 0 }
    this.checkSize()
    try {
      // Before LMDB finds out, because LMDB prints a line of its own among the lines of the log.
      if (await this.isDiskFull(bytes)) throw new NoSpaceError(this.name)
      // A child transaction, because a plain one commits the rows so far when its callback throws.
      await this.root.childTransaction(() => this.write(changes, written))
      await this.root.flushed
    } catch (error) {
      const cause = await causeOf(error)
      if (isIoError(cause) && (await this.isDiskFull(written.bytes))) {
        throw Object.assign(new NoSpaceError(this.name), { cause })
      }
      throw lmdbError(cause, this.name)
    }
    this.checkSize()
  }

  close(): Promise<void> {
    for (const view of this.views) view.close()
    this.closed ??= this.root.close()
    return this.closed
  }

  /**
   * Throws CorruptionError if the file is missing or has become shorter. LMDB would keep writing into such a file until
   * it reads a page that is gone, which ends the process.
   */
  private checkSize(): void {
    let size: number
    try {
      ;({ size } = statSync(this.name))
    } catch (error) {
      throw damaged(this.name, `the file is gone (${(error as NodeJS.ErrnoException).code})`)
    }
    if (size < this.knownBytes) throw damaged(this.name, `the file has shrunk from ${this.knownBytes} to ${size} bytes`)
    this.knownBytes = size
  }

  // Inside the transaction each operation is done when it returns, so its promise needs no wait.
  private async write(changes: Iterable<BackendChange>, written: { bytes: number }): Promise<void> {
    // lmdb makes a second promise for the same commit. If that one rejects without a handler, the process ends.
    this.root.committed.then(ignore, ignore)
    let rows = 0
    for (const { table, key, value } of changes) {
      if (value === undefined) void this.rows(table).remove(key)
      else void this.rows(table).put(key, value)
      written.bytes += value?.length ?? 0
      if (++rows % ROWS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Tells a full disk from a broken one: LMDB reports EIO for both when the disk wrote only a part. */
  private async isDiskFull(neededBytes: number): Promise<boolean> {
    const disk = await statfs(dirname(this.name))
    return disk.bavail * disk.bsize < 2 * neededBytes + SPARE_BYTES
  }

  private readable(table: BackendTable): Rows {
    this.refuseClosed()
    return this.rows(table)
  }

  /**
   * lmdb itself does not refuse a read before its close has ended: it prints "No current read transaction available",
   * and then throws from a timer, which ends the process.
   */
  private refuseClosed(): void {
    if (this.closed !== undefined) throw new ClosedError(this.name)
  }

  private rows(table: BackendTable): Rows {
    return this.tables.get(table) as Rows
  }
}

/** Reads through a read transaction of its own. LMDB keeps all pages of that transaction, and all newer ones. */
class LmdbView implements BackendView {
  private isClosed = false

  constructor(
    private readonly name: string,
    private readonly tables: ReadonlyMap<BackendTable, Rows>,
    private readonly transaction: Transaction,
    private readonly onClosed: () => void
  ) {}

  *from(table: BackendTable, first: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    const rows = this.readable(table)
    try {
      for (const { key, value } of rows.getRange({ start: first, transaction: this.transaction })) {
        yield [unwrapped(key), unwrapped(value)]
        this.refuseClosed()
      }
    } catch (error) {
      throw lmdbError(error, this.name)
    }
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.transaction.done()
    this.onClosed()
  }

  private readable(table: BackendTable): Rows {
    this.refuseClosed()
    return this.tables.get(table) as Rows
  }

  private refuseClosed(): void {
    if (this.isClosed) throw new ClosedError(this.name)
  }
}

/** Returns a view of the same bytes that is no Buffer. `slice` of a Buffer does not copy, and callers copy with it. */
function unwrapped(lent: Uint8Array): Uint8Array {
  return new Uint8Array(lent.buffer, lent.byteOffset, lent.length)
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, at) => key[at] === byte)
}

function ignore(): void {
  // `commit` handles the error.
}

/** Returns the system's error behind one of lmdb's: `commitError` is a promise that rejects with it. */
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
