/** What the parts of the directory share during one term: who is connected, who has learnt the term, and what goes out. */
import type { DirtyPageBytes, LeaderMessage } from '@quire/protocol'
import type { FileId, SessionId, StateView } from '../state/view.js'
import type { DirectoryCommand, DirectoryEffect } from './types.js'

// Rule 2: an election starts with empty volatile state, also for a node that led before. Whatever is not in the state machine
// hangs on this, and is dropped with it.
export class Term {
  private nextOperation = 1
  private nextConnection = 1
  /** Registered sessions, with the number of their connection. */
  private readonly connections = new Map<SessionId, number>()
  /** Sessions older than this term that have neither registered nor ended in it. */
  private readonly unacknowledged = new Set<SessionId>()
  /** Who mapped each file at the election, and may hold any page of it that this term has no entry for. */
  private readonly inherited = new Map<FileId, Set<SessionId>>()
  /** The newest discard that has begun of each file that somebody maps. */
  private readonly newestDiscards = new Map<FileId, number>()
  private output: DirectoryEffect[] = []

  constructor(
    readonly number: number,
    readonly view: StateView
  ) {
    for (const session of view.sessions()) {
      this.unacknowledged.add(session.id)
      for (const file of session.files) {
        const sessions = this.inherited.get(file)
        if (sessions === undefined) this.inherited.set(file, new Set([session.id]))
        else sessions.add(session.id)
      }
    }
  }

  newOperation(): number {
    return this.nextOperation++
  }

  // ---- sessions

  connected(session: SessionId): void {
    this.connections.set(session, this.nextConnection++)
    this.unacknowledged.delete(session)
  }

  disconnected(session: SessionId): void {
    this.connections.delete(session)
  }

  ended(session: SessionId): void {
    this.connections.delete(session)
    this.unacknowledged.delete(session)
    for (const file of [...this.inherited.keys()]) this.closed(session, file)
    for (const file of [...this.newestDiscards.keys()]) this.closed(session, file)
  }

  closed(session: SessionId, file: FileId): void {
    if ((this.view.file(file)?.sessions.size ?? 0) === 0) this.newestDiscards.delete(file)
    const sessions = this.inherited.get(file)
    if (sessions?.delete(session) === true && sessions.size === 0) this.inherited.delete(file)
  }

  /** The session's connection; undefined when it has none. */
  connectionOf(session: SessionId): number | undefined {
    return this.connections.get(session)
  }

  inheritors(file: FileId): Iterable<SessionId> {
    return this.inherited.get(file) ?? []
  }

  isInherited(file: FileId): boolean {
    return this.inherited.has(file)
  }

  discardBegins(file: FileId, op: number): void {
    this.newestDiscards.set(file, op)
  }

  /** Grants name it: a client that knows of a newer one of the file takes none of its pages from them. 0: there was none. */
  newestDiscard(file: FileId): number {
    return this.newestDiscards.get(file) ?? 0
  }

  // Rule 10: expired sessions are never granted; a session that closed the file has nothing to put the page in.
  mayHold(session: SessionId, file: FileId): boolean {
    return this.view.session(session)?.files.has(file) ?? false
  }

  /**
   * A new leader changes no page before every session that maps its file has learnt the new term: until then one of them
   * could still take grants from the deposed leader, and read what this one has replaced.
   */
  isBlocked(file: FileId): boolean {
    for (const session of this.unacknowledged) if (this.mayHold(session, file)) return true
    return false
  }

  // ---- what goes out

  takeOutput(): DirectoryEffect[] {
    const { output } = this
    this.output = []
    return output
  }

  send(session: SessionId, message: LeaderMessage, lane: 'control' | 'bulk' = 'control'): void {
    if (this.connections.has(session)) this.output.push({ type: 'send', session, lane, message })
  }

  propose(command: DirectoryCommand): void {
    this.output.push({ type: 'propose', command })
  }

  discarded(file: FileId): void {
    this.output.push({ type: 'discarded', file })
  }

  acknowledgeDirty(session: SessionId, dirty: DirtyPageBytes, version: number, stale: boolean): void {
    const { file, page, epoch, seq } = dirty
    const pages = [{ file, page, epoch, seq, version, stale }]
    this.send(session, { type: 'writebackAck', term: this.number, req: 0, pages })
  }

  fitsPage(dirty: DirtyPageBytes): boolean {
    return this.view.file(dirty.file)?.pageSize === dirty.bytes.length
  }
}
