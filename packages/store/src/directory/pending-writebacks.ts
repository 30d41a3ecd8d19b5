import { InvalidArgumentError, errorToWire, type ClientMessageOf, type PageWrite } from '@quire/protocol'
import type { FileId, SessionId, WrittenPage } from '../state/view.js'
import type { DirectoryState } from './directory-state.js'

/** A writeback that was proposed and is not applied yet. */
interface Pending {
  readonly session: SessionId
  readonly connection: number | undefined
  readonly req: number
  readonly first: PageWrite
}

/** A writeback that waits until sessions have acknowledged the term. */
interface Held {
  readonly session: SessionId
  readonly connection: number | undefined
  readonly message: ClientMessageOf<'writeback'>
}

/**
 * Proposes the writebacks of sessions in the order of their arrival.
 *
 * It acknowledges a writeback when its entry is applied.
 */
export class PendingWritebacks {
  private held: Held[] = []
  /** Sessions and files of `held`. */
  private readonly heldFiles = new Set<string>()
  private readonly pending: Pending[] = []

  constructor(private readonly state: DirectoryState) {}

  add(session: SessionId, message: ClientMessageOf<'writeback'>): void {
    const { state } = this
    const [first] = message.pages
    const bad = message.pages.find((page) => !state.fitsWrite(page))
    if (first === undefined || bad !== undefined) {
      const error = new InvalidArgumentError(
        'writeback',
        bad?.bytes.length ?? 0,
        'whole pages of an open file, or diffs of them'
      )
      const failed = {
        type: 'writebackFailed',
        term: state.term,
        req: message.req,
        error: errorToWire(error)
      } as const
      return state.send(session, failed)
    }
    const connection = state.connectionOf(session)
    if (message.pages.some(({ file }) => state.isBlocked(file) || this.isHeld(session, file))) {
      this.held.push({ session, connection, message })
      for (const { file } of message.pages) this.heldFiles.add(heldKey(session, file))
      return
    }
    this.pending.push({ session, connection, req: message.req, first })
    state.propose({ type: 'writeback', session, pages: message.pages })
  }

  // The pages of a whole file count their writebacks together. If one overtook another, the state machine would take
  // the later entry for a repeated writeback and drop its bytes.
  private isHeld(session: SessionId, file: FileId): boolean {
    return this.heldFiles.has(heldKey(session, file))
  }

  unblock(): void {
    const held = this.held
    this.held = []
    this.heldFiles.clear()
    for (const { session, connection, message } of held) {
      if (connection !== undefined && this.state.connectionOf(session) === connection) this.add(session, message)
    }
  }

  /** Returns false if no session asked for the writeback. */
  applied(session: SessionId, outcomes: readonly WrittenPage[]): boolean {
    const [first] = outcomes
    const at = this.pending.findIndex((pending) => pending.session === session && isSame(pending.first, first))
    if (at < 0) return false
    const [{ connection, req }] = this.pending.splice(at, 1) as [Pending]
    // If the connection is gone, the client repeats the writeback, and the state machine recognizes it by epoch and
    // seq.
    if (connection !== undefined && this.state.connectionOf(session) === connection) {
      this.state.acknowledge(session, req, outcomes)
    }
    return true
  }
}

function heldKey(session: SessionId, file: FileId): string {
  return `${session} ${file}`
}

function isSame(a: PageWrite, b: WrittenPage | undefined): boolean {
  return a.file === b?.file && a.page === b.page && a.epoch === b.epoch && a.seq === b.seq
}
