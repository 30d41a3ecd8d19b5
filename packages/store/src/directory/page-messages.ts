/** What the leader says about pages: grants, refusals, and what it asks of those who hold one. */
import { NoSuchFileError, PastEndError, errorToWire, type Access, type QuireError } from '@quire/protocol'
import { isWithin } from '../state/units.js'
import type { SessionId } from '../state/view.js'
import type { Fault, Operation, PageEntry, Waiting } from './page-entry.js'
import type { Term } from './term.js'

export class PageMessages {
  longestWaitTurns = 0

  constructor(private readonly term: Term) {}

  grant(entry: PageEntry, { request, turn }: Waiting<Fault>, access: Access): void {
    const { session, req, file, page } = request
    const { view } = this.term
    if (!this.term.mayHold(session, file)) return
    this.longestWaitTurns = Math.max(this.longestWaitTurns, entry.turns - turn)
    const owner = view.owner(file, page)
    const isOwner = owner.session === session
    // `have` is believed of who has not been invalidated or revoked since it asked: those are no longer among the copies.
    const believed = entry.copies.has(session)
    // Rule 6: in the copyset before it is sent.
    entry.granted(request, !isOwner || (access === 'read' && entry.downgradedEpoch === owner.epoch))
    const version = view.version(file, page)
    const current = believed && request.have !== 0 && request.have === version
    const bytes = current ? undefined : (view.page(file, page).bytes ?? NO_BYTES)
    const { epoch, seq } = isOwner ? owner : NOT_OWNER
    // Of a file that is owned as a whole, many grants can be on their way: they come in the order in which they were asked for.
    const lane = entry.isWhole || (bytes !== undefined && bytes.length > 0) ? 'bulk' : 'control'
    const discard = this.term.newestDiscard(file)
    const granted = { type: 'grant', term: this.term.number, req, file, page, access, owner: isOwner } as const
    this.term.send(session, { ...granted, epoch, seq, version, discard, bytes }, lane)
  }

  /** Refuses a fault of a page that is not there; false when it is. */
  refuse(fault: Fault): boolean {
    const error = this.refusal(fault)
    if (error === undefined) return false
    const { session, req, file, page } = fault
    this.term.send(session, { type: 'faultFailed', term: this.term.number, req, file, page, error: errorToWire(error) })
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
    const copy = entry.copies.get(session)
    // A grant travels on another lane; the client holds this back until that grant has arrived. One sent on an earlier
    // connection never will.
    const after = copy !== undefined && copy.connection === this.term.connectionOf(session) ? copy.req : 0
    this.term.send(session, { type, term: this.term.number, op: operation.id, file, page, after })
  }

  private refusal(fault: Fault): QuireError | undefined {
    const file = this.term.view.file(fault.file)
    if (file === undefined) return new NoSuchFileError(`file ${fault.file}`)
    return isWithin(file, fault.page) ? undefined : new PastEndError(file.path, fault.page * file.pageSize, file.size)
  }
}

/** A page that was never written: no bytes travel. */
const NO_BYTES = new Uint8Array(0)
const NOT_OWNER = { epoch: 0, seq: 0 }
