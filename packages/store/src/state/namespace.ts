import { assert, type WireFileStat } from '@quire/protocol'
import type { FileData, StateRecord, StateStore } from './records.js'
import type { FileId, FileRecord, SessionId } from './view.js'

/**
 * Finds files by their ids or paths.
 *
 * File records are immutable: a change makes a new record.
 */
export class Namespace {
  private readonly files = new Map<FileId, FileRecord>()
  private readonly byPath = new Map<string, FileId>()
  /** Sorted by code units. */
  private paths: string[] = []

  constructor(private readonly store: StateStore) {}

  get(id: FileId): FileRecord | undefined {
    return this.files.get(id)
  }

  getByPath(path: string): FileRecord | undefined {
    const id = this.byPath.get(path)
    return id === undefined ? undefined : this.files.get(id)
  }

  create(stat: WireFileStat): FileRecord {
    return this.link({ ...stat, linked: true, sessions: new Set<SessionId>() })
  }

  /** Creates a file without a path. Only its id leads to it until `name` gives it a path. */
  createUnnamed(stat: WireFileStat): FileRecord {
    assert(stat.path === '', `an unnamed file with the path ${stat.path}`)
    return this.set({ ...stat, linked: false, sessions: new Set<SessionId>() })
  }

  change(id: FileId, changes: Partial<Omit<FileData, 'id' | 'path' | 'linked'>>): FileRecord {
    return this.set({ ...this.getOrThrow(id), ...changes })
  }

  /** Removes the path of the file. The file's id still leads to it. */
  unlink(record: FileRecord): void {
    this.forgetPath(record.path)
    this.set({ ...record, linked: false })
  }

  /** Moves the file to a free path. */
  move(record: FileRecord, path: string): void {
    this.forgetPath(record.path)
    this.link({ ...record, path })
  }

  /** Gives an unnamed file a free path. */
  name(record: FileRecord, path: string): FileRecord {
    assert(record.path === '', `file ${record.id} cannot be named ${path}: its path was ${record.path}`)
    return this.link({ ...record, linked: true, path })
  }

  /** Removes a file without a path. */
  remove(record: FileRecord): void {
    assert(!record.linked, `${record.path} still leads to file ${record.id}, which is to be removed`)
    this.files.delete(record.id)
    this.store.put('file', record.id, 0, undefined)
  }

  /** Returns the set of sessions that map the file. All records of a file share one set. */
  sessionsOf(id: FileId): Set<SessionId> {
    return this.getOrThrow(id).sessions as Set<SessionId>
  }

  /** Returns up to `limit` files whose path starts with `prefix` and comes after `after`, in order of code units. */
  list(prefix: string, after: string, limit: number): FileRecord[] {
    const found: FileRecord[] = []
    let at = this.firstFrom(after > prefix ? after : prefix)
    if (this.paths[at] === after) at++
    for (; found.length < limit; at++) {
      const path = this.paths[at]
      if (path === undefined || !path.startsWith(prefix)) break
      const record = this.getByPath(path)
      assert(record !== undefined, `${path} is in the list of paths but leads to no file`)
      found.push(record)
    }
    return found
  }

  /** Replaces all files. */
  restore(files: readonly FileData[]): void {
    this.files.clear()
    this.byPath.clear()
    for (const file of files) {
      this.files.set(file.id, { ...file, sessions: new Set<SessionId>() })
      if (file.linked) this.byPath.set(file.path, file.id)
    }
    // Without a comparator, `sort` orders strings by code units, like `<`.
    this.paths = [...this.byPath.keys()].sort()
  }

  *records(): IterableIterator<StateRecord> {
    for (const value of this.files.values()) yield { kind: 'file', a: value.id, b: 0, value }
  }

  ids(): Iterable<FileId> {
    return this.files.keys()
  }

  private getOrThrow(id: FileId): FileRecord {
    const record = this.files.get(id)
    assert(record !== undefined, `no file ${id}`)
    return record
  }

  private set(record: FileRecord): FileRecord {
    this.files.set(record.id, record)
    this.store.put('file', record.id, 0, record)
    return record
  }

  private link(record: FileRecord): FileRecord {
    assert(!this.byPath.has(record.path), `${record.path} already leads to a file`)
    this.set(record)
    this.byPath.set(record.path, record.id)
    this.paths.splice(this.firstFrom(record.path), 0, record.path)
    return record
  }

  private forgetPath(path: string): void {
    this.byPath.delete(path)
    this.paths.splice(this.firstFrom(path), 1)
  }

  /** Returns the position of the first path that does not come before `path`. */
  private firstFrom(path: string): number {
    let low = 0
    let high = this.paths.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.paths[middle] as string) < path) low = middle + 1
      else high = middle
    }
    return low
  }
}
