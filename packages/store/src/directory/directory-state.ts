import type { LeaderMessage, PageWrite, WriteResult } from '@quire/protocol'
import { DamagedPageError } from '../state/damaged-page.js'
import { isWriteOf } from '../state/units.js'
import type { FileId, SessionId, StateView, WrittenPage } from '../state/view.js'
import type { UnreadGrant } from './grant.js'
import type { DirectoryCommand, DirectoryEffect } from './types.js'

/**
 * Holds what the parts of a directory share.
 *
 * That is: which sessions are connected, which of them have acknowledged the term, and the effects for the driver.
 */
export class DirectoryState {
  private nextOperation = 1
  private nextConnection = 1
  /** Registered sessions, with the number of their connection. */
  private readonly connections = new Map<SessionId, number>()
  /** Sessions older than this term that have neither registered nor ended in it. */
  private readonly unacknowledged = new Set<SessionId>()
  /**
   * The sessions that mapped each file at the election. They may hold any page of it that the directory has no entry
   * for.
   */
  private readonly inherited = new Map<FileId, Set<SessionId>>()
  /** The newest discard that has begun, for each file that a session maps. */
  private readonly newestDiscards = new Map<FileId, number>()
  private pendingEffects: DirectoryEffect[] = []

  constructor(
    readonly term: number,
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

  /** The number of the session's connection; undefined when it has none. */
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

  /**
   * The operation that grants of the file name; 0 if no discard has begun. A client that knows of a newer discard of
   * the file ignores a grant that names an older one.
   */
  newestDiscard(file: FileId): number {
    return this.newestDiscards.get(file) ?? 0
  }

  // Rule 10: an expired session is never granted a page. A session that has closed the file has no place for one.
  mayHold(session: SessionId, file: FileId): boolean {
    return this.view.session(session)?.files.has(file) ?? false
  }

  /**
   * True while a session that maps the file has not acknowledged the term. Until then this leader changes no page of
   * the file: that session could still accept a grant from the deposed leader, and read bytes that this leader has
   * replaced.
   */
  isBlocked(file: FileId): boolean {
    for (const session of this.unacknowledged) if (this.mayHold(session, file)) return true
    return false
  }

  // ---- effects

  takeEffects(): DirectoryEffect[] {
    const effects = this.pendingEffects
    this.pendingEffects = []
    return effects
  }

  send(session: SessionId, message: LeaderMessage, lane: 'control' | 'bulk' = 'control'): void {
    if (this.connections.has(session)) this.pendingEffects.push({ type: 'send', session, lane, message })
  }

  repairAndSend(session: SessionId, grant: UnreadGrant): void {
    if (this.connections.has(session)) this.pendingEffects.push({ type: 'repairAndSend', session, grant })
  }

  propose(command: DirectoryCommand): void {
    this.pendingEffects.push({ type: 'propose', command })
  }

  discarded(file: FileId): void {
    this.pendingEffects.push({ type: 'discarded', file })
  }

  /**
   * The version of a page that has the bytes of its owner. Where it is damaged, the owner gets the index of the last
   * entry, which no other copy has as its version.
   */
  private versionOf(file: FileId, page: number): number {
    try {
      return this.view.version(file, page)
    } catch (error) {
      if (error instanceof DamagedPageError) return this.view.appliedIndex
      throw error
    }
  }

  /** Answers the writeback `req`, or an order that asked for the pages if that is 0. */
  acknowledge(session: SessionId, req: number, written: readonly WrittenPage[]): void {
    const pages = written.map(({ file, page, epoch, seq, result: applied, isLost }) => {
      // The client still has all bytes of the page. With them it heals every peer that has lost the page.
      const result = isLost === true ? 'base' : applied
      return { file, page, epoch, seq, result, version: result === 'stored' ? this.versionOf(file, page) : 0 }
    })
    this.send(session, { type: 'writebackAck', term: this.term, req, pages })
  }

  acknowledgeDirty(session: SessionId, { file, page, epoch, seq }: PageWrite, result: WriteResult): void {
    this.acknowledge(session, 0, [{ file, page, epoch, seq, result }])
  }

  fitsWrite(write: PageWrite): boolean {
    const file = this.view.file(write.file)
    return file !== undefined && isWriteOf(file, write)
  }

  /** True unless the owner's write is a diff, and the page of this peer is not its base. */
  hasBase({ file, page, epoch, seq, ranges }: PageWrite): boolean {
    const owner = this.view.owner(file, page)
    // A stale write stores nothing.
    if (ranges === undefined || epoch !== owner.epoch || seq <= owner.seq) return true
    return seq === owner.seq + 1 && this.isReadable(file, page)
  }

  private isReadable(file: FileId, page: number): boolean {
    try {
      this.view.page(file, page)
      return true
    } catch (error) {
      if (error instanceof DamagedPageError) return false
      throw error
    }
  }
}
