import { NoSuchFileError, PastEndError, errorToWire, type Access, type QuireError } from '@quire/protocol'
import { DamagedPageError } from '../state/damaged-page.js'
import { isWithin } from '../state/units.js'
import type { SessionId } from '../state/view.js'
import type { Fault, Operation, PageEntry, WaitingRequest } from './page-entry.js'
import type { DirectoryState } from './directory-state.js'
import { readGrant } from './grant.js'

/**
 * Sends clients the leader's decisions about pages.
 *
 * These are grants, refusals, and orders to give copies up.
 */
export class PageMessages {
  longestWaitTurns = 0

  constructor(private readonly state: DirectoryState) {}

  grant(entry: PageEntry, { request, turn }: WaitingRequest<Fault>, access: Access): void {
    const { session, req, file, page } = request
    const { view } = this.state
    if (!this.state.mayHold(session, file)) return
    this.longestWaitTurns = Math.max(this.longestWaitTurns, entry.turns - turn)
    const owner = view.owner(file, page)
    const isOwner = owner.session === session
    // An invalidation or a revocation removes a session from the copies. Only a session that is still among them holds
    // what its fault named in `have`.
    const believed = entry.copy(session) !== undefined
    // Rule 6: the session is in the copyset before its grant is sent.
    entry.granted(request, !isOwner || (access === 'read' && entry.downgradedEpoch === owner.epoch))
    const { epoch, seq } = isOwner ? owner : NOT_OWNER
    const { term } = this.state
    const discard = this.state.newestDiscard(file)
    const have = believed ? request.have : 0
    const unread = { type: 'grant', term, req, file, page, access, owner: isOwner, epoch, seq, discard, have } as const
    try {
      const granted = readGrant(view, unread)
      this.state.send(session, granted, entry.unit.laneOf(granted.pages[0]?.bytes))
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      this.state.repairAndSend(session, unread)
    }
  }

  /** Refuses a fault on a page that does not exist. Returns false if the page exists. */
  refuse(fault: Fault): boolean {
    const error = this.refusal(fault)
    if (error === undefined) return false
    const { session, req, file, page } = fault
    this.state.send(session, { type: 'faultFailed', term: this.state.term, req, file, page, error: errorToWire(error) })
    return true
  }

  ask(entry: PageEntry, operation: Operation): void {
    this.order(operation.kind === 'write' ? 'revoke' : 'downgrade', entry, operation, operation.asked)
  }

  invalidate(entry: PageEntry, operation: Operation, session: SessionId): void {
    this.order('invalidate', entry, operation, session)
  }

  private order(
    type: 'invalidate' | 'revoke' | 'downgrade',
    entry: PageEntry,
    operation: Operation,
    session: SessionId
  ): void {
    const { file, page } = entry
    const copy = entry.copy(session)
    // A grant travels on another lane. The client holds this order back until the grant that it names has arrived. A
    // grant that was sent on an earlier connection never arrives.
    const after = copy !== undefined && copy.connection === this.state.connectionOf(session) ? copy.req : 0
    this.state.send(session, { type, term: this.state.term, op: operation.id, file, page, count: 1, after })
  }

  private refusal(fault: Fault): QuireError | undefined {
    const file = this.state.view.file(fault.file)
    if (file === undefined) return new NoSuchFileError(`file ${fault.file}`)
    return isWithin(file, fault.page) ? undefined : new PastEndError(file.path, fault.page * file.pageSize, file.size)
  }
}

const NOT_OWNER = { epoch: 0, seq: 0 }
