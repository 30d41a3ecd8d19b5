/**
 * The owner directory. docs/coherence.md describes the protocol; rule numbers in the comments are those of that page.
 */
import { InvalidArgumentError, errorToWire, type ClientMessageOf, type QuireError } from '@quire/protocol'
import type { Applied, FileId, SessionId, StateView } from '../state/view.js'
import { DirectoryState } from './directory-state.js'
import { DiscardOperations } from './discard-operations.js'
import { unitOf } from './owner-unit.js'
import { PageOperations } from './page-operations.js'
import { PendingWritebacks } from './pending-writebacks.js'
import type { CoherenceMessage, DirectoryEffect, DirectoryStats, DiscardRequest } from './types.js'

/**
 * Decides which session may read or write each page during one term.
 *
 * The leader of a Raft group makes a directory when it has applied the no-op of its term, and drops it with the term
 * (rule 2). All memory of a directory is volatile; what must survive is in the state machine that it reads. Inputs come
 * one at a time. The driver takes the `effects()` of each input before it gives the next one.
 */
export class Directory {
  private readonly state: DirectoryState
  private readonly pages: PageOperations
  private readonly discards: DiscardOperations
  private readonly writebacks: PendingWritebacks

  /** `view` has applied everything up to the no-op of `term`. */
  constructor(term: number, view: StateView) {
    this.state = new DirectoryState(term, view)
    this.pages = new PageOperations(this.state)
    this.discards = new DiscardOperations(this.state, this.pages)
    this.writebacks = new PendingWritebacks(this.state)
  }

  // ---- inputs

  /**
   * The session registered on a new connection, which replaces its earlier one. By registering, its client acknowledges
   * the term.
   */
  connected(session: SessionId): void {
    this.state.connected(session)
    this.pages.askAgain(session)
    this.discards.askAgain(session)
    this.unblock()
    this.discards.advance()
  }

  disconnected(session: SessionId): void {
    this.state.disconnected(session)
    this.discards.advance()
  }

  /** A message of a registered session. Messages of one lane come in the order in which they arrived. */
  receive(session: SessionId, message: CoherenceMessage): void {
    if (this.state.connectionOf(session) !== undefined && this.state.view.session(session) !== undefined) {
      this.handle(session, message)
    }
    this.discards.advance()
  }

  /**
   * A session asks to truncate or punch a file; the state machine has not answered this request yet. The directory
   * proposes the command when every session that maps the file has given the pages up. Returns the error of a request
   * that cannot be carried out, and then proposes nothing. A repeated request that is under way changes nothing.
   */
  discard(session: SessionId, request: DiscardRequest): QuireError | undefined {
    const error = this.discards.add(session, request)
    this.discards.advance()
    return error
  }

  /** An entry was applied. Call it for every entry, those of other proposers included, right after it is applied. */
  applied(outcome: Applied): void {
    this.followLog(outcome)
    this.discards.advance()
  }

  // ---- outputs

  /** True while a discard takes pages of the file away: the file's size and content are about to change. */
  isDiscarding(file: FileId): boolean {
    return this.discards.isDiscarding(file)
  }

  effects(): DirectoryEffect[] {
    return this.state.takeEffects()
  }

  stats(): DirectoryStats {
    const pages = this.pages.stats()
    const { discards, waiting } = this.discards.stats
    return {
      ...pages,
      operations: pages.operations + discards,
      waiting: pages.waiting + waiting
    }
  }

  // ---- messages

  private handle(session: SessionId, message: CoherenceMessage): void {
    switch (message.type) {
      case 'fault':
        for (let i = 0; i < message.count; i++) this.fault(session, message, i)
        return
      case 'writeback':
        return this.writebacks.add(session, message)
      case 'invalidateAck':
        for (let i = 0; i < message.count; i++) this.pages.invalidated(session, message.op + i)
        return
      case 'ownerAck':
        for (let i = 0; i < message.count; i++)
          this.pages.ownerAnswered(session, message.op + i, undefined, message.held)
        return
      case 'ownerAckDirty':
        for (const [i, dirty] of message.pages.entries()) this.pages.ownerAnswered(session, message.op + i, dirty, true)
        return
      case 'dropped':
        for (const run of message.runs) this.pages.dropped(session, message.file, run)
        return
      case 'discardAck':
        return this.discards.acknowledged(session, message.file, message.op)
    }
  }

  /** A fault on the page at `i` of the run. */
  private fault(session: SessionId, message: ClientMessageOf<'fault'>, i: number): void {
    const { file, have } = message
    const [req, page] = [message.req + i, message.page + i]
    const record = this.state.view.file(file)
    if (record !== undefined && !record.sessions.has(session)) {
      const error = errorToWire(new InvalidArgumentError('file', file, 'a file that the session has open'))
      return this.state.send(session, { type: 'faultFailed', term: this.state.term, req, file, page, error })
    }
    const access = unitOf(record).faultAccess(message.access)
    const connection = this.state.connectionOf(session)!
    const fault = { kind: 'fault', session, connection, req, file, page, access, have } as const
    if (!this.discards.hold(fault)) this.pages.fault(fault)
  }

  // ---- entries

  private followLog(outcome: Applied): void {
    switch (outcome.type) {
      case 'handover': {
        const { file, page } = outcome
        for (const [i, { done }] of outcome.outcomes.entries()) this.pages.handoverApplied(file, page + i, done)
        return
      }
      case 'writeback': {
        const [first] = outcome.outcomes
        const isAsked = this.writebacks.applied(outcome.session, outcome.outcomes)
        if (!isAsked && first !== undefined) this.pages.downgradeApplied(first)
        return
      }
      case 'truncated':
      case 'punched':
        return this.discards.applied(outcome.session, outcome.seq, true)
      case 'failed':
        return this.discards.applied(outcome.session, outcome.seq, false)
      case 'session-ended':
        return this.ended(outcome.session)
      case 'closed':
        return this.closed(outcome.session, outcome.file)
      default:
    }
  }

  private ended(session: SessionId): void {
    this.state.ended(session)
    this.pages.ended(session)
    this.discards.ended(session)
    this.unblock()
  }

  private closed(session: SessionId, file: FileId): void {
    this.state.closed(session, file)
    this.pages.closed(session, file)
    this.discards.closed(session, file)
    this.unblock()
  }

  private unblock(): void {
    this.pages.unblock()
    this.writebacks.unblock()
  }
}
