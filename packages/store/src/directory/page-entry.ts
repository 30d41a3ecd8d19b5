import { assert, type Access, type PageWrite } from '@quire/protocol'
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
  readonly session: SessionId
  /**
   * In the copyset. False for an owner that was not downgraded: the directory revokes it and does not invalidate it.
   */
  reader: boolean
  readonly connection: number
  readonly req: number
}

/** One copy, or several by their sessions. A map costs more than the rest of an entry. */
type Copies = Copy | Map<SessionId, Copy>

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
  dirty: PageWrite | undefined
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
  /** `held` and `queue` are undefined while they are empty, to save memory. */
  private held: Copies | undefined
  private queue: WaitingRequest[] | undefined
  operation: Operation | undefined
  /** The owner of this epoch was downgraded: it keeps a readable copy, and all that it wrote is durable. 0 for none. */
  downgradedEpoch = 0
  /** Grants of ownership since the entry exists. */
  turns = 0

  constructor(
    readonly file: FileId,
    readonly page: number,
    readonly unit: OwnerUnit
  ) {}

  /** Makes an entry for sessions that may hold the page since before the election. */
  static inherited(file: FileId, page: number, unit: OwnerUnit, sessions: Iterable<SessionId>): PageEntry {
    const entry = new PageEntry(file, page, unit)
    for (const session of sessions) entry.add({ session, reader: true, connection: 0, req: 0 })
    return entry
  }

  /** Makes an entry again of which only its `remainder` was kept. */
  static restored(file: FileId, page: number, unit: OwnerUnit, copy: Copy): PageEntry {
    const entry = new PageEntry(file, page, unit)
    entry.add(copy)
    entry.turns = turnsWith(copy)
    return entry
  }

  /** The only copy of a page that is at rest, if there is nothing else to remember. */
  get remainder(): Copy | undefined {
    const { held, queue, operation, downgradedEpoch, turns } = this
    if (operation !== undefined || queue !== undefined || downgradedEpoch !== 0 || held instanceof Map) return undefined
    return held !== undefined && turns === turnsWith(held) ? held : undefined
  }

  get idle(): boolean {
    return this.operation === undefined && this.queue === undefined && this.held === undefined
  }

  // ---- requests

  get waiting(): number {
    return this.queue?.length ?? 0
  }

  get head(): WaitingRequest | undefined {
    return this.queue?.[0]
  }

  push(request: Request): void {
    const waiting = { request, turn: this.turns }
    if (this.queue === undefined) this.queue = [waiting]
    else this.queue.push(waiting)
  }

  shift(): void {
    if (this.waiting <= 1) this.queue = undefined
    else this.queue!.shift()
  }

  /** Removes the faults for which `wanted` returns true from the queue, and returns them in order. */
  takeFaults(wanted: (fault: Fault) => boolean): WaitingRequest<Fault>[] {
    const taken: WaitingRequest<Fault>[] = []
    this.keep(({ request, turn }) => {
      if (request.kind !== 'fault' || !wanted(request)) return true
      taken.push({ request, turn })
      return false
    })
    return taken
  }

  withdraw(recall: Recall): void {
    this.keep(({ request }) => request !== recall)
  }

  private keep(isWanted: (waiting: WaitingRequest) => boolean): void {
    const kept = this.queue?.filter(isWanted)
    this.queue = kept?.length === 0 ? undefined : kept
  }

  // ---- copies

  copy(session: SessionId): Copy | undefined {
    if (this.held instanceof Map) return this.held.get(session)
    return this.held?.session === session ? this.held : undefined
  }

  get copies(): Copy[] {
    if (this.held instanceof Map) return [...this.held.values()]
    return this.held === undefined ? [] : [this.held]
  }

  /** The session holds no copy from now on. */
  drop(session: SessionId): void {
    if (this.copy(session) === undefined) return
    if (this.held instanceof Map) this.held.delete(session)
    else this.held = undefined
    if (this.held?.size === 0) this.held = undefined
  }

  private add(copy: Copy): void {
    if (this.held instanceof Map) this.held.set(copy.session, copy)
    else if (this.held === undefined || this.held.session === copy.session) this.held = copy
    else {
      this.held = new Map([
        [this.held.session, this.held],
        [copy.session, copy]
      ])
    }
  }

  /**
   * Records a grant. Call it before the grant is sent: the directory never invalidates a copy that it does not know.
   */
  granted(fault: Fault, reader: boolean): void {
    const { session, connection, req } = fault
    this.add({ session, reader, connection, req })
  }

  /** No session except `session` holds the page; with 0, no session at all. */
  forgetOthers(session: SessionId): void {
    this.held = this.copy(session)
    this.downgradedEpoch = 0
  }

  begin(operation: Operation): void {
    assert(this.operation === undefined, `page ${this.file}:${this.page}: a second operation at a time`)
    this.operation = operation
  }
}

/** The turns of a page that only one session ever had. */
function turnsWith({ reader }: Copy): number {
  return reader ? 0 : 1
}
