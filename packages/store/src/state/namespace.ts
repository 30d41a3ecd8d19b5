/** Files by id and by path. Records are immutable: a change makes a new one. */
import { assert, type WireFileStat } from '@quire/protocol'
import type { FileData, StateRecord, StateStore } from './records.js'
import type { FileId, FileRecord, SessionId } from './view.js'

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

  /** Only its id leads to it, until it is linked. */
  createUnnamed(stat: WireFileStat): FileRecord {
    assert(stat.path === '', `an unnamed file with the path ${stat.path}`)
    return this.set({ ...stat, linked: false, sessions: new Set<SessionId>() })
  }

  change(id: FileId, changes: Partial<Omit<FileData, 'id' | 'path' | 'linked'>>): FileRecord {
    return this.set({ ...this.getOrThrow(id), ...changes })
  }

  /** The path of `record` leads nowhere any more; who knows the file by its id still finds it. */
  unlink(record: FileRecord): void {
    this.forgetPath(record.path)
    this.set({ ...record, linked: false })
  }

  /** Moves the file to a path that is not in use. */
  move(record: FileRecord, path: string): void {
    this.forgetPath(record.path)
    this.link({ ...record, path })
  }

  /** Gives an unnamed file a path that is not in use. */
  name(record: FileRecord, path: string): FileRecord {
    assert(record.path === '', `file ${record.id} is named ${path}, but was ${record.path} before`)
    return this.link({ ...record, linked: true, path })
  }

  /** Of a file that no path leads to. */
  remove(record: FileRecord): void {
    assert(!record.linked, `${record.path} is removed, but a path leads to it`)
    this.files.delete(record.id)
    this.store.put('file', record.id, 0, undefined)
  }

  /** Sessions that map a file are shared by all of its records: they are restored from the mappings. */
  sessionsOf(id: FileId): Set<SessionId> {
    return this.getOrThrow(id).sessions as Set<SessionId>
  }

  list(prefix: string, after: string, limit: number): FileRecord[] {
    const found: FileRecord[] = []
    let at = this.firstFrom(after > prefix ? after : prefix)
    if (this.paths[at] === after) at++
    for (; found.length < limit; at++) {
      const path = this.paths[at]
      if (path === undefined || !path.startsWith(prefix)) break
      const record = this.getByPath(path)
      assert(record !== undefined, `${path} is listed but not there`)
      found.push(record)
    }
    return found
  }

  restore(files: readonly FileData[]): void {
    for (const file of files) {
      this.files.set(file.id, { ...file, sessions: new Set<SessionId>() })
      if (file.linked) this.byPath.set(file.path, file.id)
    }
    // Without a comparator: by code units, as `<` orders strings.
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
    assert(!this.byPath.has(record.path), `${record.path} leads to a file already`)
    this.set(record)
    this.byPath.set(record.path, record.id)
    this.paths.splice(this.firstFrom(record.path), 0, record.path)
    return record
  }

  private forgetPath(path: string): void {
    this.byPath.delete(path)
    this.paths.splice(this.firstFrom(path), 1)
  }

  /** Position of the first path that is not before `path`. */
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
