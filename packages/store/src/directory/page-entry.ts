import { assert, type Access, type DirtyPageBytes } from '@quire/protocol'
import type { FileId, SessionId } from '../state/view.js'
import type { OwnerUnit } from './owner-unit.js'

/**
 * A fault that waits for its grant. It is valid for the connection on which it arrived; the client repeats the fault on
 * its next connection.
 */
export interface Fault {
  readonly kind: 'fault'
  readonly session: SessionId
  readonly connection: number
  readonly req: number
  readonly file: FileId
  readonly page: number
  readonly access: Access
  /** The version of the copy that the requester held when it asked; 0 for none. */
  readonly have: number
}

/** Takes the page from every session, for a discard that is about to change the page in the log. */
export interface Recall {
  readonly kind: 'recall'
  readonly entry: PageEntry
  /** The discard was given up: the page goes to no session, with the bytes that its owner gave back. */
  abandoned: boolean
}

export type Request = Fault | Recall

/** What the directory knows of one session's copy: whether it is readable only, and the last grant that was sent. */
export interface Copy {
  /**
   * In the copyset. False for an owner that was not downgraded: the directory revokes it and does not invalidate it.
   */
  reader: boolean
  connection: number
  req: number
}

/**
 * The operation that is under way on a page. There is one at a time; every other request for the page waits (rule 5).
 */
export interface Operation {
  readonly id: number
  readonly kind: 'downgrade' | 'write'
  readonly request: Request
  /** The entry's `turns` when the request arrived. */
  readonly turn: number
  /** Sessions that have not acknowledged their invalidation. */
  readonly invalidating: Set<SessionId>
  /** The owner that was told to give the page up or to downgrade; 0 for none. */
  asked: SessionId
  answered: boolean
  dirty: DirtyPageBytes | undefined
  /** The state of the log entry: not proposed, proposed, or done (applied, or not needed). */
  entry: 'none' | 'proposed' | 'done'
}

/** A request in the queue, with the entry's `turns` when the request arrived. */
export interface WaitingRequest<R extends Request = Request> {
  readonly request: R
  readonly turn: number
}

/**
 * Remembers what the leader knows of one page.
 *
 * Its copies are always a superset of the copies that exist. Where a file is owned as a whole, the entry of page 0
 * stands for the file, and faults on all of its pages wait in this entry's queue.
 */
export class PageEntry {
  readonly copies = new Map<SessionId, Copy>()
  private queue: WaitingRequest[] = []
  operation: Operation | undefined
  /** The owner of this epoch was downgraded: it keeps a readable copy, and all that it wrote is durable. 0 for none. */
  downgradedEpoch = 0
  /** Grants of ownership since the entry exists. */
  turns = 0

  constructor(
    readonly file: FileId,
    readonly page: number,
    readonly unit: OwnerUnit,
    inherited: Iterable<SessionId>
  ) {
    for (const session of inherited) this.copies.set(session, { reader: true, connection: 0, req: 0 })
  }

  get idle(): boolean {
    return this.operation === undefined && this.queue.length === 0 && this.copies.size === 0
  }

  get waiting(): number {
    return this.queue.length
  }

  get head(): WaitingRequest | undefined {
    return this.queue[0]
  }

  push(request: Request): void {
    this.queue.push({ request, turn: this.turns })
  }

  shift(): void {
    this.queue.shift()
  }

  /** Removes the faults for which `wanted` returns true from the queue, and returns them in order. */
  takeFaults(wanted: (fault: Fault) => boolean): WaitingRequest<Fault>[] {
    const taken: WaitingRequest<Fault>[] = []
    this.queue = this.queue.filter(({ request, turn }) => {
      if (request.kind !== 'fault' || !wanted(request)) return true
      taken.push({ request, turn })
      return false
    })
    return taken
  }

  withdraw(recall: Recall): void {
    this.queue = this.queue.filter(({ request }) => request !== recall)
  }

  /**
   * Records a grant. Call it before the grant is sent: the directory never invalidates a copy that it does not know.
   */
  granted(fault: Fault, reader: boolean): void {
    this.copies.set(fault.session, { reader, connection: fault.connection, req: fault.req })
  }

  /** No session except `session` holds the page; with 0, no session at all. */
  forgetOthers(session: SessionId): void {
    const held = this.copies.get(session)
    this.copies.clear()
    if (held !== undefined) this.copies.set(session, held)
    this.downgradedEpoch = 0
  }

  begin(operation: Operation): void {
    assert(this.operation === undefined, `page ${this.file}:${this.page}: a second operation at a time`)
    this.operation = operation
  }
}
