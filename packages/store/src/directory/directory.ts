/** The owner directory. docs/coherence.md describes the protocol; rule numbers in the comments are those there. */
import { InvalidArgumentError, errorToWire, type ClientMessageOf, type QuireError } from '@quire/protocol'
import type { Applied, FileId, SessionId, StateView } from '../state/view.js'
import { Discards } from './discards.js'
import { PageOperations } from './page-operations.js'
import { Term } from './term.js'
import type { CoherenceMessage, DiscardRequest, Directory, DirectoryEffect, DirectoryStats } from './types.js'
import { Writebacks } from './writebacks.js'

export function createDirectory(view: StateView): Directory {
  return new OwnerDirectory(view)
}

class OwnerDirectory implements Directory {
  private current: Leading | undefined

  constructor(private readonly view: StateView) {}

  elected(term: number): void {
    this.current = new Leading(new Term(term, this.view))
  }

  deposed(): void {
    this.current = undefined
  }

  connected(session: SessionId): void {
    this.input((leading) => leading.connected(session))
  }

  disconnected(session: SessionId): void {
    this.input((leading) => leading.term.disconnected(session))
  }

  receive(session: SessionId, message: CoherenceMessage): void {
    this.input((leading) => leading.receive(session, message))
  }

  discard(session: SessionId, request: DiscardRequest): QuireError | undefined {
    let error: QuireError | undefined
    this.input((leading) => (error = leading.discards.add(session, request)))
    return error
  }

  isDiscarding(file: FileId): boolean {
    return this.current?.discards.isDiscarding(file) ?? false
  }

  applied(outcome: Applied): void {
    this.input((leading) => leading.applied(outcome))
  }

  effects(): DirectoryEffect[] {
    return this.current?.term.takeOutput() ?? []
  }

  stats(): DirectoryStats {
    return this.current?.stats() ?? { pages: 0, operations: 0, waiting: 0, longestWaitTurns: 0, contended: [] }
  }

  private input(run: (leading: Leading) => void): void {
    if (this.current === undefined) return
    run(this.current)
    // Whatever it was, a discard may have waited for it.
    this.current.discards.advance()
  }
}

/** The directory of one term. */
class Leading {
  readonly discards: Discards
  private readonly pages: PageOperations
  private readonly writebacks: Writebacks

  constructor(readonly term: Term) {
    this.pages = new PageOperations(term)
    this.discards = new Discards(term, this.pages)
    this.writebacks = new Writebacks(term)
  }

  connected(session: SessionId): void {
    this.term.connected(session)
    this.pages.askAgain(session)
    this.discards.askAgain(session)
    this.unblock()
  }

  receive(session: SessionId, message: CoherenceMessage): void {
    if (this.term.connectionOf(session) === undefined || this.term.view.session(session) === undefined) return
    switch (message.type) {
      case 'fault':
        return this.fault(session, message)
      case 'writeback':
        return this.writebacks.add(session, message)
      case 'invalidateAck':
        return this.pages.invalidated(session, message.op)
      case 'ownerAck':
        return this.pages.ownerAnswered(session, message.op, undefined, message.held)
      case 'ownerAckDirty':
        return this.pages.ownerAnswered(session, message.op, message.dirty, true)
      case 'discardAck':
        return this.discards.acknowledged(session, message.file, message.op)
    }
  }

  applied(outcome: Applied): void {
    switch (outcome.type) {
      case 'handover':
        return this.pages.handoverApplied(outcome)
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

  stats(): DirectoryStats {
    const pages = this.pages.stats()
    const { discards, waiting } = this.discards.stats
    return {
      ...pages,
      operations: pages.operations + discards,
      waiting: pages.waiting + waiting
    }
  }

  private fault(session: SessionId, message: ClientMessageOf<'fault'>): void {
    const { req, file, page, have } = message
    const record = this.term.view.file(file)
    if (record !== undefined && !record.sessions.has(session)) {
      const error = errorToWire(new InvalidArgumentError('file', file, 'a file that the session has open'))
      return this.term.send(session, { type: 'faultFailed', term: this.term.number, req, file, page, error })
    }
    // A file that is owned as a whole has no readers.
    const access = record?.unit === 'file' ? 'write' : message.access
    const connection = this.term.connectionOf(session)!
    const fault = { kind: 'fault', session, connection, req, file, page, access, have } as const
    if (!this.discards.hold(fault)) this.pages.fault(fault)
  }

  private unblock(): void {
    this.pages.unblock()
    this.writebacks.unblock()
  }

  private ended(session: SessionId): void {
    this.term.ended(session)
    this.pages.ended(session)
    this.discards.ended(session)
    this.unblock()
  }

  private closed(session: SessionId, file: FileId): void {
    this.term.closed(session, file)
    this.pages.closed(session, file)
    this.discards.closed(session, file)
    this.unblock()
  }
}
