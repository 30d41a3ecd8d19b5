import { assert } from '@quire/protocol'
import type { Namespace } from './namespace.js'
import type { SessionData, StateRecord, StateStore } from './records.js'
import type { FileId, SessionId, SessionRecord } from './view.js'

/** The record of a session, as the state machine changes it. */
export interface SessionEntry extends SessionRecord {
  readonly files: Set<FileId>
  /** The client has the answers of all requests below this number. */
  settled: number
}

/** Records the open sessions with the files that each maps. */
export class Sessions {
  private readonly byId = new Map<SessionId, SessionEntry>()

  constructor(
    private readonly store: StateStore,
    private readonly namespace: Namespace
  ) {}

  get(id: SessionId): SessionEntry | undefined {
    return this.byId.get(id)
  }

  all(): Iterable<SessionEntry> {
    return this.byId.values()
  }

  open(id: SessionId, clientId: string, ttlMs: number): void {
    assert(!this.byId.has(id), `session ${id} already exists`)
    this.byId.set(id, { id, clientId, ttlMs, files: new Set(), settled: 0 })
    this.store.put('session', id, 0, { clientId, ttlMs, settled: 0 })
  }

  settle(session: SessionEntry, settled: number): void {
    session.settled = settled
    this.store.put('session', session.id, 0, { clientId: session.clientId, ttlMs: session.ttlMs, settled })
  }

  /** Records that the session maps the file. */
  map(session: SessionEntry, file: FileId): void {
    if (session.files.has(file)) return
    session.files.add(file)
    this.namespace.sessionsOf(file).add(session.id)
    this.store.put('mapping', session.id, file, {})
  }

  unmap(session: SessionEntry, file: FileId): void {
    if (!session.files.delete(file)) return
    this.namespace.sessionsOf(file).delete(session.id)
    this.store.put('mapping', session.id, file, undefined)
  }

  end(session: SessionEntry): void {
    for (const file of [...session.files]) this.unmap(session, file)
    this.byId.delete(session.id)
    this.store.put('session', session.id, 0, undefined)
  }

  clear(): void {
    this.byId.clear()
  }

  restoreSession(id: SessionId, data: SessionData): void {
    this.byId.set(id, { id, clientId: data.clientId, ttlMs: data.ttlMs, settled: data.settled, files: new Set() })
  }

  restoreMapping(id: SessionId, file: FileId): void {
    const session = this.byId.get(id)
    assert(session !== undefined, `session ${id} maps file ${file}, but has no record`)
    session.files.add(file)
    this.namespace.sessionsOf(file).add(id)
  }

  *records(): IterableIterator<StateRecord> {
    for (const session of this.byId.values()) {
      const { id, clientId, ttlMs, settled } = session
      yield { kind: 'session', a: id, b: 0, value: { clientId, ttlMs, settled } }
      for (const file of session.files) yield { kind: 'mapping', a: id, b: file, value: {} }
    }
  }
}
