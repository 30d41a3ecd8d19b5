/**
 * The owner directory. docs/coherence.md describes the protocol; rule numbers in the comments are those there.
 */
import {
  InvalidArgumentError,
  NoSuchFileError,
  PastEndError,
  errorToWire,
  type ClientMessageOf,
  type DirtyPageBytes,
  type LeaderMessage,
  type QuireError,
  type WritebackOutcome
} from '@quire/protocol'
import type { Applied, FileId, SessionId, StateView } from '../state/view.js'
import { PageEntry, type Operation, type Request } from './page-entry.js'
import type { CoherenceMessage, Directory, DirectoryEffect, DirectoryStats } from './types.js'

export function createDirectory(view: StateView): Directory {
  return new OwnerDirectory(view)
}

/** A writeback that was proposed for a session and is not applied yet. */
interface PendingWriteback {
  readonly session: SessionId
  readonly connection: number
  readonly req: number
  readonly first: DirtyPageBytes
}

interface HeldWriteback {
  readonly session: SessionId
  readonly connection: number
  readonly message: ClientMessageOf<'writeback'>
}

class OwnerDirectory implements Directory {
  private term = 0
  private nextOperation = 1
  private nextConnection = 1
  private readonly files = new Map<FileId, Map<number, PageEntry>>()
  private readonly operations = new Map<number, PageEntry>()
  /** Registered sessions, with the number of their connection. */
  private readonly connections = new Map<SessionId, number>()
  /** Sessions older than this term that have neither registered nor ended in it. */
  private readonly unacknowledged = new Set<SessionId>()
  /** Who mapped each file at the election, and may hold any page of it that this term has no entry for. */
  private readonly inherited = new Map<FileId, Set<SessionId>>()
  private readonly blockedPages = new Set<PageEntry>()
  private heldWritebacks: HeldWriteback[] = []
  private readonly pendingWritebacks: PendingWriteback[] = []
  private output: DirectoryEffect[] = []

  constructor(private readonly view: StateView) {}

  // Rule 2: an election starts with empty volatile state, also for a node that led before.
  elected(term: number): void {
    this.deposed()
    this.term = term
    for (const session of this.view.sessions()) {
      this.unacknowledged.add(session.id)
      for (const file of session.files) {
        const sessions = this.inherited.get(file)
        if (sessions === undefined) this.inherited.set(file, new Set([session.id]))
        else sessions.add(session.id)
      }
    }
  }

  deposed(): void {
    this.term = 0
    this.files.clear()
    this.operations.clear()
    this.connections.clear()
    this.unacknowledged.clear()
    this.inherited.clear()
    this.blockedPages.clear()
    this.heldWritebacks = []
    this.pendingWritebacks.length = 0
    this.output = []
  }

  connected(session: SessionId): void {
    if (this.term === 0) return
    this.connections.set(session, this.nextConnection++)
    // Rule 9: what the old connection may have swallowed is asked again.
    for (const entry of this.operations.values()) this.askAgain(entry, session)
    this.acknowledged(session)
  }

  disconnected(session: SessionId): void {
    this.connections.delete(session)
  }

  receive(session: SessionId, message: CoherenceMessage): void {
    if (this.term === 0 || !this.connections.has(session) || this.view.session(session) === undefined) return
    switch (message.type) {
      case 'fault':
        return this.fault(session, message)
      case 'writeback':
        return this.writeback(session, message)
      case 'invalidateAck':
        return this.invalidated(session, message.op)
      case 'ownerAck':
        return this.ownerAnswered(session, message.op, undefined, message.held)
      case 'ownerAckDirty':
        return this.ownerAnswered(session, message.op, message.dirty, true)
    }
  }

  applied(outcome: Applied): void {
    if (this.term === 0) return
    switch (outcome.type) {
      case 'handover':
        return this.handoverApplied(outcome)
      case 'writeback':
        return this.writebackApplied(outcome)
      case 'session-ended':
        return this.sessionGone(outcome.session)
      case 'closed':
        return this.fileClosed(outcome.session, outcome.file)
      default:
    }
  }

  effects(): DirectoryEffect[] {
    const output = this.output
    this.output = []
    return output
  }

  stats(): DirectoryStats {
    let pages = 0
    let waiting = 0
    for (const entries of this.files.values()) {
      pages += entries.size
      for (const entry of entries.values()) waiting += entry.queue.length
    }
    return { pages, operations: this.operations.size, waiting }
  }

  // ---- requests

  private fault(session: SessionId, message: ClientMessageOf<'fault'>): void {
    const error = this.faultError(session, message)
    if (error !== undefined) {
      const { req, file, page } = message
      return this.send(session, { type: 'faultFailed', term: this.term, req, file, page, error: errorToWire(error) })
    }
    const entry = this.entry(message.file, message.page)
    // A session has one request outstanding for a page; an older one came on a connection that is gone.
    const stale = entry.queue.findIndex((waiting) => waiting.session === session)
    if (stale >= 0) entry.queue.splice(stale, 1)
    const connection = this.connections.get(session)!
    entry.queue.push({ session, connection, req: message.req, access: message.access, have: message.have })
    this.pump(entry)
  }

  private faultError(session: SessionId, message: ClientMessageOf<'fault'>): QuireError | undefined {
    const file = this.view.file(message.file)
    if (file === undefined) return new NoSuchFileError(`file ${message.file}`)
    if (!file.sessions.has(session))
      return new InvalidArgumentError('file', message.file, 'a file that the session has open')
    const offset = message.page * file.pageSize
    if (offset >= file.size) return new PastEndError(file.path, offset, file.size)
    return undefined
  }

  /** Serves the queue until an operation has to finish first, or a write must wait for sessions to learn the term. */
  private pump(entry: PageEntry): void {
    while (entry.operation === undefined && entry.queue.length > 0) {
      const request = entry.queue[0]!
      if (!this.isWaiting(request)) {
        entry.queue.shift()
        continue
      }
      if (request.access === 'write') {
        if (this.isBlocked(entry.file)) {
          this.blockedPages.add(entry)
          return
        }
        entry.queue.shift()
        this.beginWrite(entry, request)
        continue
      }
      const owner = this.view.owner(entry.file, entry.page)
      const elsewhere = owner.session !== 0 && owner.session !== request.session
      if (elsewhere && entry.downgradedEpoch !== owner.epoch) {
        this.beginDowngrade(entry, request, owner.session)
        return
      }
      entry.queue.shift()
      this.grant(entry, request, 'read')
    }
    this.forgetIfIdle(entry)
  }

  private isWaiting(request: Request): boolean {
    return this.connections.get(request.session) === request.connection
  }

  // Rule 10: expired sessions are never granted; a session that closed the file has nothing to put the page in.
  private mayHold(session: SessionId, file: FileId): boolean {
    return this.view.session(session)?.files.has(file) ?? false
  }

  /**
   * A new leader changes no page before every session that maps its file has learnt the new term: until then one of them
   * could still take grants from the deposed leader, and read what this one has replaced.
   */
  private isBlocked(file: FileId): boolean {
    for (const session of this.unacknowledged) if (this.mayHold(session, file)) return true
    return false
  }

  // ---- operations

  // Rule 7. The request stays at the head of the queue and is granted, with its fellow readers, when this is over.
  private beginDowngrade(entry: PageEntry, request: Request, owner: SessionId): void {
    const operation = this.begin(entry, 'downgrade', request)
    operation.asked = owner
    this.ask(entry, operation)
  }

  // Rule 8.
  private beginWrite(entry: PageEntry, request: Request): void {
    const operation = this.begin(entry, 'write', request)
    const owner = this.view.owner(entry.file, entry.page)
    for (const [session, copy] of entry.copies) {
      if (copy.reader && session !== request.session && session !== owner.session) operation.invalidating.add(session)
    }
    for (const session of operation.invalidating) this.invalidate(entry, operation, session)
    this.advanceWrite(entry, operation)
  }

  private begin(entry: PageEntry, kind: Operation['kind'], request: Request): Operation {
    const operation: Operation = {
      id: this.nextOperation++,
      kind,
      request,
      invalidating: new Set(),
      asked: 0,
      answered: false,
      dirty: undefined,
      entry: 'none'
    }
    entry.begin(operation)
    this.operations.set(operation.id, entry)
    return operation
  }

  /** Moves a write on as far as it can go: revoke, then the entry, then, when all have acknowledged, the grant. */
  private advanceWrite(entry: PageEntry, operation: Operation): void {
    if (operation.entry === 'none') this.proposeHandover(entry, operation)
    if (operation.entry !== 'done' || operation.invalidating.size > 0) return
    const { request } = operation
    const owner = this.view.owner(entry.file, entry.page)
    this.finish(entry)
    if (owner.session === request.session) {
      const held = entry.copies.get(request.session)
      entry.copies.clear()
      if (held !== undefined) entry.copies.set(request.session, held)
      entry.downgradedEpoch = 0
      if (this.isWaiting(request)) this.grant(entry, request, 'write')
    } else {
      entry.copies.clear()
    }
    this.pump(entry)
  }

  private proposeHandover(entry: PageEntry, operation: Operation): void {
    const { file, page } = entry
    const owner = this.view.owner(file, page)
    const requester = operation.request.session
    if (owner.session === requester) {
      operation.entry = 'done'
      return
    }
    if (owner.session !== 0 && !(operation.asked === owner.session && operation.answered)) {
      if (operation.asked === owner.session) return
      operation.asked = owner.session
      operation.answered = false
      this.ask(entry, operation)
      return
    }
    if (operation.dirty !== undefined && (owner.session === 0 || operation.dirty.epoch !== owner.epoch)) {
      // Bytes of another epoch are committed already, or were given up when their owner closed the file or expired.
      this.acknowledgeDirty(operation.asked, operation.dirty, 0, true)
      operation.dirty = undefined
    }
    const to = this.mayHold(requester, file) ? requester : 0
    if (owner.session === 0 && to === 0) {
      operation.entry = 'done'
      return
    }
    const { dirty } = operation
    operation.entry = 'proposed'
    this.propose({
      type: 'handover',
      file,
      page,
      from: owner.session,
      fromEpoch: owner.epoch,
      to,
      seq: dirty?.seq ?? 0,
      bytes: dirty?.bytes
    })
  }

  private handoverApplied(outcome: Extract<Applied, { type: 'handover' }>): void {
    const entry = this.files.get(outcome.file)?.get(outcome.page)
    const operation = entry?.operation
    if (entry === undefined || operation?.entry !== 'proposed' || operation.kind !== 'write') return
    const { dirty, asked } = operation
    if (!outcome.done) {
      // A session ended between the proposal and its turn: decide again from what is true now.
      operation.entry = 'none'
      this.advanceWrite(entry, operation)
      return
    }
    operation.entry = 'done'
    if (asked !== 0) entry.copies.delete(asked)
    if (dirty !== undefined) this.acknowledgeDirty(asked, dirty, outcome.version, false)
    this.advanceWrite(entry, operation)
  }

  private invalidated(session: SessionId, op: number): void {
    // Rule 4: an acknowledgement counts for the operation that it names, and for no other.
    const entry = this.operations.get(op)
    const operation = entry?.operation
    if (entry === undefined || operation === undefined || !operation.invalidating.delete(session)) return
    entry.copies.delete(session)
    this.advanceWrite(entry, operation)
  }

  private ownerAnswered(session: SessionId, op: number, dirty: DirtyPageBytes | undefined, held: boolean): void {
    const entry = this.operations.get(op)
    const operation = entry?.operation
    if (entry === undefined || operation === undefined || operation.asked !== session || operation.answered) return
    if (dirty !== undefined) {
      if (dirty.file !== entry.file || dirty.page !== entry.page || !this.fitsPage(dirty)) return
      operation.dirty = dirty
    }
    operation.answered = true
    if (!held) entry.copies.delete(session)
    this.advance(entry, operation)
  }

  private advance(entry: PageEntry, operation: Operation): void {
    if (operation.kind === 'write') this.advanceWrite(entry, operation)
    else this.advanceDowngrade(entry, operation)
  }

  private advanceDowngrade(entry: PageEntry, operation: Operation): void {
    if (!operation.answered || operation.entry === 'proposed') return
    const { dirty, asked } = operation
    if (dirty !== undefined && operation.entry === 'none') {
      if (this.isBlocked(entry.file)) {
        this.blockedPages.add(entry)
        return
      }
      operation.entry = 'proposed'
      this.propose({ type: 'writeback', session: asked, pages: [dirty] })
      return
    }
    const owner = this.view.owner(entry.file, entry.page)
    if (owner.session === asked) {
      entry.downgradedEpoch = owner.epoch
      const copy = entry.copies.get(asked)
      if (copy !== undefined) copy.reader = true
    }
    this.finish(entry)
    this.pump(entry)
  }

  private finish(entry: PageEntry): void {
    this.operations.delete(entry.operation!.id)
    entry.operation = undefined
  }

  // ---- writebacks

  private writeback(session: SessionId, message: ClientMessageOf<'writeback'>): void {
    const bad = message.pages.find((page) => !this.fitsPage(page))
    if (bad !== undefined || message.pages.length === 0) {
      const error = new InvalidArgumentError('writeback', bad?.bytes.length ?? 0, 'whole pages of an open file')
      this.send(session, { type: 'writebackFailed', term: this.term, req: message.req, error: errorToWire(error) })
      return
    }
    const connection = this.connections.get(session)!
    if (message.pages.some((page) => this.isBlocked(page.file))) {
      this.heldWritebacks.push({ session, connection, message })
      return
    }
    this.pendingWritebacks.push({ session, connection, req: message.req, first: message.pages[0]! })
    this.propose({ type: 'writeback', session, pages: message.pages })
  }

  private fitsPage(dirty: DirtyPageBytes): boolean {
    return this.view.file(dirty.file)?.pageSize === dirty.bytes.length
  }

  private writebackApplied(outcome: Extract<Applied, { type: 'writeback' }>): void {
    const first = outcome.outcomes[0]
    if (first === undefined) return
    const at = this.pendingWritebacks.findIndex((w) => w.session === outcome.session && samePage(w.first, first))
    if (at >= 0) {
      const [pending] = this.pendingWritebacks.splice(at, 1)
      // The connection that asked may be gone; then the client asks again, and the state machine knows it by epoch and seq.
      if (this.connections.get(outcome.session) === pending!.connection) {
        const { req } = pending!
        this.send(outcome.session, { type: 'writebackAck', term: this.term, req, pages: [...outcome.outcomes] })
      }
      return
    }
    const entry = this.files.get(first.file)?.get(first.page)
    const operation = entry?.operation
    if (entry === undefined || operation?.kind !== 'downgrade' || operation.entry !== 'proposed') return
    if (operation.dirty === undefined || !samePage(operation.dirty, first)) return
    operation.entry = 'done'
    this.acknowledgeDirty(operation.asked, operation.dirty, first.version, first.stale)
    this.advanceDowngrade(entry, operation)
  }

  private acknowledgeDirty(session: SessionId, dirty: DirtyPageBytes, version: number, stale: boolean): void {
    const { file, page, epoch, seq } = dirty
    const outcome: WritebackOutcome = { file, page, epoch, seq, version, stale }
    this.send(session, { type: 'writebackAck', term: this.term, req: 0, pages: [outcome] })
  }

  // ---- sessions

  private acknowledged(session: SessionId): void {
    if (!this.unacknowledged.delete(session)) return
    this.unblock()
  }

  private unblock(): void {
    const pages = [...this.blockedPages]
    this.blockedPages.clear()
    for (const entry of pages) {
      if (entry.operation !== undefined) this.advance(entry, entry.operation)
      else this.pump(entry)
    }
    const writebacks = this.heldWritebacks
    this.heldWritebacks = []
    for (const { session, connection, message } of writebacks) {
      if (this.connections.get(session) === connection) this.writeback(session, message)
    }
  }

  private sessionGone(session: SessionId): void {
    this.connections.delete(session)
    for (const sessions of this.inherited.values()) sessions.delete(session)
    for (const entries of this.files.values()) this.forgetCopies(entries.values(), session)
    this.acknowledged(session)
  }

  private fileClosed(session: SessionId, file: FileId): void {
    this.inherited.get(file)?.delete(session)
    const entries = this.files.get(file)
    if (entries !== undefined) this.forgetCopies(entries.values(), session)
  }

  /** A session that has ended, or closed the file, holds nothing and will answer nothing. */
  private forgetCopies(entries: Iterable<PageEntry>, session: SessionId): void {
    for (const entry of [...entries]) {
      entry.copies.delete(session)
      const { operation } = entry
      if (operation === undefined) {
        this.pump(entry)
        continue
      }
      operation.invalidating.delete(session)
      if (operation.asked === session) operation.answered = true
      this.advance(entry, operation)
    }
  }

  // ---- messages

  private ask(entry: PageEntry, operation: Operation): void {
    this.sendOperation(operation.kind === 'write' ? 'revoke' : 'downgrade', entry, operation, operation.asked)
  }

  private invalidate(entry: PageEntry, operation: Operation, session: SessionId): void {
    this.sendOperation('invalidate', entry, operation, session)
  }

  private askAgain(entry: PageEntry, session: SessionId): void {
    const operation = entry.operation!
    if (operation.invalidating.has(session)) this.invalidate(entry, operation, session)
    if (operation.asked === session && !operation.answered) this.ask(entry, operation)
  }

  private sendOperation(
    type: 'invalidate' | 'revoke' | 'downgrade',
    entry: PageEntry,
    operation: Operation,
    session: SessionId
  ): void {
    const copy = entry.copies.get(session)
    // A grant travels on another lane; the client holds this back until that grant has arrived. One sent on an earlier
    // connection never will.
    const after = copy !== undefined && copy.connection === this.connections.get(session) ? copy.req : 0
    this.send(session, { type, term: this.term, op: operation.id, file: entry.file, page: entry.page, after })
  }

  private grant(entry: PageEntry, request: Request, access: 'read' | 'write'): void {
    const { file, page } = entry
    const { session, req } = request
    if (!this.mayHold(session, file)) return
    const owner = this.view.owner(file, page)
    const isOwner = owner.session === session
    // `have` is believed of who has not been invalidated or revoked since it asked: those are no longer among the copies.
    const believed = entry.copies.has(session)
    // Rule 6: in the copyset before it is sent.
    entry.granted(request, !isOwner || (access === 'read' && entry.downgradedEpoch === owner.epoch))
    const version = this.view.version(file, page)
    const current = believed && request.have !== 0 && request.have === version
    const bytes = current ? undefined : (this.view.page(file, page).bytes ?? NO_BYTES)
    const { epoch, seq } = isOwner ? owner : NOT_OWNER
    const { term } = this
    this.send(session, { type: 'grant', term, req, file, page, access, owner: isOwner, epoch, seq, version, bytes })
  }

  private send(session: SessionId, message: LeaderMessage): void {
    if (!this.connections.has(session)) return
    const lane =
      message.type === 'grant' && message.bytes !== undefined && message.bytes.length > 0 ? 'bulk' : 'control'
    this.output.push({ type: 'send', session, lane, message })
  }

  private propose(command: Extract<DirectoryEffect, { type: 'propose' }>['command']): void {
    this.output.push({ type: 'propose', command })
  }

  // ---- entries

  private entry(file: FileId, page: number): PageEntry {
    let entries = this.files.get(file)
    if (entries === undefined) {
      entries = new Map()
      this.files.set(file, entries)
    }
    let entry = entries.get(page)
    if (entry === undefined) {
      entry = new PageEntry(file, page, this.inherited.get(file) ?? [])
      entries.set(page, entry)
    }
    return entry
  }

  /** An entry may go only when a new one would say the same: nobody holds a copy, nobody is inherited. */
  private forgetIfIdle(entry: PageEntry): void {
    if (!entry.idle || (this.inherited.get(entry.file)?.size ?? 0) > 0) return
    const entries = this.files.get(entry.file)
    if (entries?.get(entry.page) !== entry) return
    entries.delete(entry.page)
    if (entries.size === 0) this.files.delete(entry.file)
  }
}

/** A page that was never written: no bytes travel. */
const NO_BYTES = new Uint8Array(0)
const NOT_OWNER = { epoch: 0, seq: 0 }

function samePage(a: DirtyPageBytes | WritebackOutcome, b: WritebackOutcome): boolean {
  return a.file === b.file && a.page === b.page && a.epoch === b.epoch && a.seq === b.seq
}
