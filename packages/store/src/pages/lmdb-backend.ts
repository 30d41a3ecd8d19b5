/** The backend on LMDB: one environment of three databases with binary keys and values. */
import { statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { NoSpaceError } from '@quire/protocol'
import { open, type Database, type RootDatabase } from 'lmdb'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from './backend.js'
import {
  allocateLockFile,
  checkLmdbFile,
  damaged,
  isIoError,
  REMEDY,
  refuseIrregular,
  silenceCommits,
  typed
} from './lmdb-guard.js'

/** Rows written in one turn of the event loop, about a millisecond's worth: faults are served between two slices. */
const ROWS_PER_TURN = 128

/** LMDB needs a few pages beside the rows' own: with less than this left, a failed write is put down to lack of room. */
const SPARE_BYTES = 1024 * 1024

type Rows = Database<Uint8Array, Uint8Array>

export interface LmdbBackendInit {
  /** The database file; LMDB keeps its lock file beside it. Made where it is missing, its folder must exist. */
  readonly path: string
  /** Lets a process of its own read the file first. Default true. Without it damage that LMDB does not survive is met here. */
  readonly probe?: boolean
}

/**
 * Throws CorruptionError for a file that is damaged or not LMDB's, NoSpaceError where there is none for LMDB's lock,
 * and PageStoreError where the file cannot be opened. Each is one line that names the file. Blocks for as long as a
 * process takes that looks at the file first.
 */
export function createLmdbBackend(init: LmdbBackendInit): Backend {
  return new LmdbBackend(init.path, init.probe ?? true)
}

const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const

function openFile(path: string): RootDatabase<Uint8Array, Uint8Array> {
  const root = open<Uint8Array, Uint8Array>({
    ...BINARY,
    path,
    noSubdir: true,
    // Offsets in the layout count on it (see docs/storage.md), also where the system's pages are larger.
    pageSize: 4096,
    // One big transaction at a time gains nothing from syncing after the commit, and plain LMDB is simpler to trust.
    overlappingSync: false
  })
  silenceCommits(root)
  return root
}

class LmdbBackend implements Backend {
  readonly remedy = REMEDY
  private readonly root: RootDatabase<Uint8Array, Uint8Array>
  private readonly tables: ReadonlyMap<BackendTable, Rows>

  private closed: Promise<void> | undefined
  /** The file had as many bytes after it was opened, or after the last commit. It never becomes shorter by itself. */
  private knownBytes = 0

  constructor(
    readonly name: string,
    probe: boolean
  ) {
    try {
      refuseIrregular(name)
    } catch (error) {
      throw typed(error, name)
    }
    // The probe opens the environment, too: without a lock file that is allocated, a full disk would end it like damage.
    allocateLockFile(name)
    checkLmdbFile(name, probe)
    try {
      this.root = openFile(name)
      this.tables = new Map(BACKEND_TABLES.map((of) => [of, this.root.openDB<Uint8Array, Uint8Array>(of, BINARY)]))
      this.checkSize()
    } catch (error) {
      throw typed(error, name)
    }
  }

  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined {
    try {
      // lmdb lends its own buffer, which is longer than the value; its `length` says how long that is.
      const lent = this.rows(table).getBinaryFast(key)
      return lent === undefined ? undefined : plain(lent)
    } catch (error) {
      throw typed(error, this.name)
    }
  }

  *entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [Uint8Array, Uint8Array]> {
    try {
      for (const { key, value } of this.rows(table).getRange({ start: prefix })) {
        if (!startsWith(key, prefix)) return
        yield [plain(key), plain(value)]
      }
    } catch (error) {
      throw typed(error, this.name)
    }
  }

  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[] {
    try {
      return [...this.rows(table).getKeys({ start: first, end, limit })].map((key) => plain(key).slice())
    } catch (error) {
      throw typed(error, this.name)
    }
  }

  async commit(changes: Iterable<BackendChange>, bytes = 0): Promise<void> {
    const written = { bytes: 0 }
    this.checkSize()
    try {
      // LMDB would find out by itself, and print it among the lines of the log.
      if (await this.isDiskFull(bytes)) throw new NoSpaceError(this.name)
      // A child transaction: a plain one commits what it has so far when its callback throws.
      await this.root.childTransaction(() => this.write(changes, written))
      await this.root.flushed
    } catch (error) {
      const cause = await causeOf(error)
      if (isIoError(cause) && (await this.isDiskFull(written.bytes))) {
        throw Object.assign(new NoSpaceError(this.name), { cause })
      }
      throw typed(cause, this.name)
    }
    this.checkSize()
  }

  close(): Promise<void> {
    this.closed ??= this.root.close()
    return this.closed
  }

  /** LMDB would write on into a file that was cut off, until it reads what is not there: that ends the process. */
  private checkSize(): void {
    let size: number
    try {
      ;({ size } = statSync(this.name))
    } catch (error) {
      throw damaged(this.name, `it is gone (${(error as NodeJS.ErrnoException).code})`)
    }
    if (size < this.knownBytes) throw damaged(this.name, `it was cut off to ${size} bytes, it had ${this.knownBytes}`)
    this.knownBytes = size
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
