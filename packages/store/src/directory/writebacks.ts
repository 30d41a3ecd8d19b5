/** Writebacks that sessions ask for: proposed in the order in which they came, acknowledged when their entry is applied. */
import {
  InvalidArgumentError,
  errorToWire,
  type ClientMessageOf,
  type DirtyPageBytes,
  type WritebackOutcome
} from '@quire/protocol'
import type { FileId, SessionId } from '../state/view.js'
import type { Term } from './term.js'

/** Proposed and not applied yet. */
interface Pending {
  readonly session: SessionId
  readonly connection: number | undefined
  readonly req: number
  readonly first: DirtyPageBytes
}

/** Waits for sessions to learn the term. */
interface Held {
  readonly session: SessionId
  readonly connection: number | undefined
  readonly message: ClientMessageOf<'writeback'>
}

export class Writebacks {
  private held: Held[] = []
  private readonly pending: Pending[] = []

  constructor(private readonly term: Term) {}

  add(session: SessionId, message: ClientMessageOf<'writeback'>): void {
    const { term } = this
    const [first] = message.pages
    const bad = message.pages.find((page) => !term.fitsPage(page))
    if (first === undefined || bad !== undefined) {
      const error = new InvalidArgumentError('writeback', bad?.bytes.length ?? 0, 'whole pages of an open file')
      const failed = {
        type: 'writebackFailed',
        term: term.number,
        req: message.req,
        error: errorToWire(error)
      } as const
      return term.send(session, failed)
    }
    const connection = term.connectionOf(session)
    if (message.pages.some(({ file }) => term.isBlocked(file) || this.isHeld(session, file))) {
      this.held.push({ session, connection, message })
      return
    }
    this.pending.push({ session, connection, req: message.req, first })
    term.propose({ type: 'writeback', session, pages: message.pages })
  }

  // The pages of a whole file count their writebacks together: were one overtaken, the state machine would take it for a
  // repetition of something older and drop its bytes.
  private isHeld(session: SessionId, file: FileId): boolean {
    return this.held.some((held) => held.session === session && held.message.pages.some((page) => page.file === file))
  }

  unblock(): void {
    const held = this.held
    this.held = []
    for (const { session, connection, message } of held) {
      if (connection !== undefined && this.term.connectionOf(session) === connection) this.add(session, message)
    }
  }

  /** False when no session asked for it. */
  applied(session: SessionId, outcomes: readonly WritebackOutcome[]): boolean {
    const [first] = outcomes
    const at = this.pending.findIndex((pending) => pending.session === session && isSame(pending.first, first))
    if (at < 0) return false
    const [{ connection, req }] = this.pending.splice(at, 1) as [Pending]
    // The connection that asked may be gone; then the client asks again, and the state machine knows it by epoch and seq.
    if (connection !== undefined && this.term.connectionOf(session) === connection) {
      this.term.send(session, { type: 'writebackAck', term: this.term.number, req, pages: [...outcomes] })
    }
    return true
  }
}

function isSame(a: DirtyPageBytes, b: WritebackOutcome | undefined): boolean {
  return a.file === b?.file && a.page === b.page && a.epoch === b.epoch && a.seq === b.seq
}
