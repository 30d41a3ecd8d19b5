/** Files by id and by path. Records are immutable: a change makes a new one. */
import { assert, type WireFileStat } from '@quire/protocol'
import type { StateRecord, StateStore } from './records.js'
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
    assert(!this.byPath.has(stat.path), `${stat.path} exists already`)
    const record: FileRecord = { ...stat, sessions: new Set<SessionId>() }
    this.files.set(stat.id, record)
    this.byPath.set(stat.path, stat.id)
    this.paths.splice(this.firstFrom(stat.path), 0, stat.path)
    this.store.put('file', stat.id, 0, record)
    return record
  }

  /** The file's bytes or size changed at log index `version`. */
  touch(record: FileRecord, version: number, modifiedAt: number, size = record.size): FileRecord {
    const changed: FileRecord = { ...record, version, modifiedAt, size }
    this.files.set(record.id, changed)
    this.store.put('file', record.id, 0, changed)
    return changed
  }

  /** Sessions that map a file are shared by all of its records: they are restored from the mappings. */
  sessionsOf(id: FileId): Set<SessionId> {
    const record = this.files.get(id)
    assert(record !== undefined, `no file ${id}`)
    return record.sessions as Set<SessionId>
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

  restore(stats: readonly WireFileStat[]): void {
    for (const stat of stats) {
      this.files.set(stat.id, { ...stat, sessions: new Set<SessionId>() })
      this.byPath.set(stat.path, stat.id)
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
