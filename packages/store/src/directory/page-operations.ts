import type { DirtyPageBytes, PageWrite } from '@quire/protocol'
import type { FileId, SessionId, WrittenPage } from '../state/view.js'
import type { Fault, Operation, PageEntry, Recall, Request, WaitingRequest } from './page-entry.js'
import { PageMessages } from './page-messages.js'
import { PageEntries } from './page-entries.js'
import type { DirectoryState } from './directory-state.js'
import type { DirectoryStats } from './types.js'

/**
 * Decides which session may read or write each page.
 *
 * Faults come in, one operation at a time runs on a page, and grants go out. Rule numbers in the comments are those of
 * docs/coherence.md.
 */
export class PageOperations {
  private readonly entries: PageEntries
  private readonly messages: PageMessages
  private readonly operations = new Map<number, PageEntry>()
  /** Pages whose next change waits until sessions have acknowledged the term. */
  private readonly blocked = new Set<PageEntry>()

  constructor(private readonly state: DirectoryState) {
    this.entries = new PageEntries(state)
    this.messages = new PageMessages(state)
  }

  // ---- requests

  fault(fault: Fault): void {
    if (this.messages.refuse(fault)) return
    const entry = this.entries.entry(fault.file, fault.page)
    // A session has one request outstanding for a page. An older one came on a connection that is gone.
    entry.takeFaults((waiting) => waiting.session === fault.session && waiting.page === fault.page)
    entry.push(fault)
    this.pump(entry)
  }

  /** Takes the page from every session, in its turn, and grants it to none until `recallDone` or `abandonRecall`. */
  recall(file: FileId, page: number): Recall {
    const recall: Recall = { kind: 'recall', entry: this.entries.entry(file, page), abandoned: false }
    recall.entry.push(recall)
    this.pump(recall.entry)
    return recall
  }

  /**
   * Serves the queue, until an operation must finish first or a write must wait for sessions to acknowledge the term.
   */
  private pump(entry: PageEntry): void {
    for (let head = entry.head; head !== undefined && entry.operation === undefined; head = entry.head) {
      const { request } = head
      if (request.kind === 'fault' && (!this.isWaiting(request) || this.messages.refuse(request))) {
        entry.shift()
      } else if (request.kind === 'fault' && this.isReadable(entry, request)) {
        // All readers that wait when a reader's turn comes are granted: each overtakes a writer at most once.
        const readers = entry.takeFaults((fault) => this.isReadable(entry, fault))
        for (const reader of readers) if (this.isWaiting(reader.request)) this.messages.grant(entry, reader, 'read')
      } else if (request.kind === 'fault' && request.access === 'read') {
        this.beginDowngrade(entry, request)
      } else if (request.kind === 'fault' && entry.unit.ownerOvertakes && this.isOwner(entry, request.session)) {
        this.grantOwner(entry, request.session)
      } else if (this.state.isBlocked(entry.file)) {
        this.blocked.add(entry)
        return
      } else {
        entry.shift()
        this.beginWrite(entry, head)
      }
    }
    this.grantAsked(entry)
    this.entries.settle(entry)
  }

  /** Grants the owner that was asked the pages that it waits for, unless it has answered. */
  private grantAsked(entry: PageEntry): void {
    const { operation } = entry
    if (!entry.unit.ownerOvertakes || operation === undefined || operation.asked === 0 || operation.answered) return
    if (this.isOwner(entry, operation.asked)) this.grantOwner(entry, operation.asked)
  }

  private isWaiting(fault: Fault): boolean {
    return this.state.connectionOf(fault.session) === fault.connection
  }

  private isOwner(entry: PageEntry, session: SessionId): boolean {
    return this.state.view.owner(entry.file, entry.page).session === session
  }

  /** True if the session may read at once: no other session owns the page, or its owner was downgraded. */
  private isReadable(entry: PageEntry, fault: Fault): boolean {
    if (fault.access !== 'read') return false
    const owner = this.state.view.owner(entry.file, entry.page)
    return owner.session === 0 || owner.session === fault.session || entry.downgradedEpoch === owner.epoch
  }

  // ---- operations

  // Rule 7. The request stays at the head of the queue. When the operation is over, it is granted with the other
  // readers.
  private beginDowngrade(entry: PageEntry, request: Fault): void {
    const operation = this.begin(entry, 'downgrade', { request, turn: entry.turns })
    operation.asked = this.state.view.owner(entry.file, entry.page).session
    this.messages.ask(entry, operation)
  }

  // Rule 8.
  private beginWrite(entry: PageEntry, waiting: WaitingRequest): void {
    const operation = this.begin(entry, 'write', waiting)
    const owner = this.state.view.owner(entry.file, entry.page)
    const requester = requesterOf(waiting.request)
    for (const { session, reader } of entry.copies) {
      if (reader && session !== requester && session !== owner.session) operation.invalidating.add(session)
    }
    for (const session of operation.invalidating) this.messages.invalidate(entry, operation, session)
    this.advanceWrite(entry, operation)
  }

  private begin(entry: PageEntry, kind: Operation['kind'], { request, turn }: WaitingRequest): Operation {
    const operation: Operation = {
      id: this.state.newOperation(),
      kind,
      request,
      turn,
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

  private advance(entry: PageEntry, operation: Operation): void {
    if (operation.kind === 'write') this.advanceWrite(entry, operation)
    else this.advanceDowngrade(entry, operation)
  }

  /**
   * Advances a write as far as possible: the revocation, then the entry, then, after all acknowledgments, the grant.
   */
  private advanceWrite(entry: PageEntry, operation: Operation): void {
    const { request, turn } = operation
    if (request.kind === 'recall' && !request.abandoned) {
      this.hasOwnerAnswered(entry, operation)
      return
    }
    if (operation.entry === 'none') this.proposeHandover(entry, operation)
    if (operation.entry !== 'done' || operation.invalidating.size > 0) return
    this.finish(entry)
    const isOwner = request.kind === 'fault' && this.isOwner(entry, request.session)
    entry.forgetOthers(isOwner ? request.session : 0)
    if (isOwner) {
      if (this.isWaiting(request)) this.messages.grant(entry, { request, turn }, 'write')
      if (entry.unit.ownerOvertakes) this.grantOwner(entry, request.session)
      entry.turns++
    }
    this.pump(entry)
  }

  /** Grants all pages of the entry that its owner waits for. */
  private grantOwner(entry: PageEntry, owner: SessionId): void {
    for (const fault of entry.takeFaults(({ session }) => session === owner)) {
      if (this.isWaiting(fault.request) && !this.messages.refuse(fault.request))
        this.messages.grant(entry, fault, 'write')
    }
  }

  /**
   * True if no session owns the page, or its owner has given it up, with bytes that the log can take. Otherwise asks
   * the owner.
   */
  private hasOwnerAnswered(entry: PageEntry, operation: Operation): boolean {
    const owner = this.state.view.owner(entry.file, entry.page)
    if (owner.session === 0) return true
    if (operation.asked === owner.session) {
      if (!operation.answered) return false
      if (this.canPropose(operation)) return true
      this.refuseBytes(entry, operation)
      return false
    }
    operation.asked = owner.session
    operation.answered = false
    this.messages.ask(entry, operation)
    return false
  }

  /** The entry of a recall takes whole pages only. */
  private canPropose({ dirty, request }: Operation): boolean {
    return dirty?.ranges === undefined || (request.kind === 'fault' && this.state.hasBase(dirty))
  }

  /** The owner's diff is of no use: asks it again, and then the page comes whole. */
  private refuseBytes(entry: PageEntry, operation: Operation): void {
    this.state.acknowledgeDirty(operation.asked, operation.dirty!, 'base')
    operation.dirty = undefined
    operation.answered = false
    this.messages.ask(entry, operation)
  }

  private proposeHandover(entry: PageEntry, operation: Operation): void {
    const { file, page } = entry
    const owner = this.state.view.owner(file, page)
    const requester = requesterOf(operation.request)
    if (owner.session !== 0 && owner.session === requester) {
      operation.entry = 'done'
      return
    }
    if (!this.hasOwnerAnswered(entry, operation)) return
    const dirty = this.usableBytes(entry, operation)
    const to = this.state.mayHold(requester, file) ? requester : 0
    if (owner.session === 0 && to === 0) {
      operation.entry = 'done'
      return
    }
    operation.entry = 'proposed'
    const [from, fromEpoch] = [owner.session, owner.epoch]
    const pages = [dirty && { seq: dirty.seq, ranges: dirty.ranges, bytes: dirty.bytes }]
    this.state.propose({ type: 'handover', file, page, from, fromEpoch, to, pages })
  }

  /**
   * The bytes that the owner gave back. Bytes of another epoch do not count: either they are committed, or their owner
   * gave them up when it closed the file or expired.
   */
  private usableBytes(entry: PageEntry, operation: Operation): PageWrite | undefined {
    const owner = this.state.view.owner(entry.file, entry.page)
    const { dirty } = operation
    if (dirty !== undefined && (owner.session === 0 || dirty.epoch !== owner.epoch)) {
      this.state.acknowledgeDirty(operation.asked, dirty, 'stale')
      operation.dirty = undefined
    }
    return operation.dirty
  }

  private advanceDowngrade(entry: PageEntry, operation: Operation): void {
    if (!operation.answered || operation.entry === 'proposed') return
    const { dirty, asked } = operation
    if (dirty !== undefined && operation.entry === 'none') {
      if (this.state.isBlocked(entry.file)) {
        this.blocked.add(entry)
        return
      }
      if (!this.hasOwnerAnswered(entry, operation)) return
      operation.entry = 'proposed'
      this.state.propose({ type: 'writeback', session: asked, pages: [dirty] })
      return
    }
    const owner = this.state.view.owner(entry.file, entry.page)
    if (owner.session === asked) {
      entry.downgradedEpoch = owner.epoch
      const copy = entry.copy(asked)
      if (copy !== undefined) copy.reader = true
    }
    this.finish(entry)
    this.pump(entry)
  }

  private finish(entry: PageEntry): void {
    this.operations.delete(entry.operation!.id)
    entry.operation = undefined
  }

  // ---- answers and entries

  invalidated(session: SessionId, op: number): void {
    // Rule 4: an acknowledgment counts for the operation that it names, and for no other.
    const entry = this.operations.get(op)
    const operation = entry?.operation
    if (entry === undefined || operation === undefined || !operation.invalidating.delete(session)) return
    entry.drop(session)
    this.advanceWrite(entry, operation)
  }

  ownerAnswered(session: SessionId, op: number, dirty: PageWrite | undefined, held: boolean): void {
    const entry = this.operations.get(op)
    const operation = entry?.operation
    if (entry === undefined || operation === undefined || operation.asked !== session || operation.answered) return
    if (dirty !== undefined) {
      if (!entry.unit.ownerReturnsBytes) return
      if (dirty.file !== entry.file || dirty.page !== entry.page || !this.state.fitsWrite(dirty)) return
      operation.dirty = dirty
    }
    operation.answered = true
    if (!held) entry.drop(session)
    this.advance(entry, operation)
  }

  /** The session holds no copy of the pages any longer. */
  dropped(session: SessionId, file: FileId, { page, count }: { readonly page: number; readonly count: number }): void {
    for (let i = 0; i < count; i++) this.entries.dropped(session, file, page + i)
  }

  handoverApplied(file: FileId, page: number, done: boolean): void {
    const entry = this.entries.findActive(file, page)
    const operation = entry?.operation
    if (entry === undefined || operation?.entry !== 'proposed' || operation.kind !== 'write') return
    const { dirty, asked } = operation
    if (!done) {
      // A session ended between the proposal and the entry: decide again from the current state.
      operation.entry = 'none'
      this.advanceWrite(entry, operation)
      return
    }
    operation.entry = 'done'
    if (asked !== 0) entry.drop(asked)
    if (dirty !== undefined) this.state.acknowledgeDirty(asked, dirty, 'stored')
    this.advanceWrite(entry, operation)
  }

  /** A writeback was applied that no session asked for. It may hold the bytes of an owner that was downgraded. */
  downgradeApplied(written: WrittenPage): void {
    const entry = this.entries.findActive(written.file, written.page)
    const operation = entry?.operation
    if (entry === undefined || operation?.kind !== 'downgrade' || operation.entry !== 'proposed') return
    const { dirty, asked } = operation
    if (dirty === undefined || dirty.epoch !== written.epoch || dirty.seq !== written.seq) return
    // The page has become damaged since the directory looked.
    if (written.isLost === true) {
      operation.entry = 'none'
      return this.refuseBytes(entry, operation)
    }
    operation.entry = 'done'
    this.state.acknowledgeDirty(asked, dirty, written.result)
    this.advanceDowngrade(entry, operation)
  }

  // ---- recalls

  /** True when no session holds the page and none can get it. */
  isRecalled(recall: Recall): boolean {
    const { operation } = recall.entry
    if (operation?.request !== recall || operation.invalidating.size > 0) return false
    return this.hasOwnerAnswered(recall.entry, operation)
  }

  /** The bytes that the owner of a recalled page had not flushed. */
  recalledBytes({ entry }: Recall): DirtyPageBytes | undefined {
    return this.usableBytes(entry, entry.operation!)
  }

  /** The entry of the discard was applied: it has stored the bytes, and the page has no owner. */
  recallDone({ entry }: Recall): void {
    const { dirty, asked } = entry.operation!
    if (dirty !== undefined) this.state.acknowledgeDirty(asked, dirty, 'stored')
    this.finish(entry)
    entry.forgetOthers(0)
    this.pump(entry)
  }

  abandonRecall(recall: Recall): void {
    const { entry } = recall
    recall.abandoned = true
    if (entry.operation?.request === recall) return this.advanceWrite(entry, entry.operation)
    entry.withdraw(recall)
    this.pump(entry)
  }

  // ---- discards

  /** True if an operation is under way, or a request waits, on a page from `first` up to but excluding `end`. */
  isBusy(file: FileId, first: number, end: number): boolean {
    // Unless the file is blocked, a request waits only for an operation on its page.
    for (const entry of this.operations.values()) {
      if (entry.file === file && entry.page >= first && entry.page < end) return true
    }
    return false
  }

  /** No session holds a page of the range. */
  discarded(file: FileId, first: number, end: number): void {
    for (const entry of this.entries.inRange(file, first, end)) {
      entry.forgetOthers(0)
      this.pump(entry)
    }
  }

  // ---- sessions

  // Rule 9: the session may have lost orders with its old connection, so the directory repeats them.
  askAgain(session: SessionId): void {
    for (const entry of this.operations.values()) {
      const operation = entry.operation!
      if (operation.invalidating.has(session)) this.messages.invalidate(entry, operation, session)
      if (operation.asked === session && !operation.answered) this.messages.ask(entry, operation)
    }
  }

  unblock(): void {
    const entries = [...this.blocked]
    this.blocked.clear()
    for (const entry of entries) {
      if (entry.operation !== undefined) this.advance(entry, entry.operation)
      else this.pump(entry)
    }
  }

  ended(session: SessionId): void {
    for (const file of this.entries.fileIds()) this.closed(session, file)
  }

  /** The session has ended or has closed the file: it holds no page of the file and answers no order about one. */
  closed(session: SessionId, file: FileId): void {
    for (const entry of this.entries.closed(session, file)) {
      entry.drop(session)
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

  stats(): DirectoryStats {
    return {
      ...this.entries.stats(),
      operations: this.operations.size,
      longestWaitTurns: this.messages.longestWaitTurns
    }
  }
}

/** The session that the operation is for; 0 for none. */
function requesterOf(request: Request): SessionId {
  return request.kind === 'fault' ? request.session : 0
}
