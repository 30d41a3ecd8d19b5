/** What the leader remembers about one page: volatile, and always a superset of the copies that exist. */
import { assert, type Access, type DirtyPageBytes } from '@quire/protocol'
import type { FileId, SessionId } from '../state/view.js'

/** A fault that waits for its grant. It lives as long as the connection that it came on; the client repeats it on the next. */
export interface Fault {
  readonly kind: 'fault'
  readonly session: SessionId
  readonly connection: number
  readonly req: number
  readonly file: FileId
  readonly page: number
  readonly access: Access
  /** Version of the copy that the requester held when it asked; 0: none. */
  readonly have: number
}

/** Takes the page from everybody, for whoever is about to change it in the log (see discards.ts). */
export interface Recall {
  readonly kind: 'recall'
  readonly entry: PageEntry
  /** Nobody changes it after all: the page goes to nobody, with what its owner gave back. */
  abandoned: boolean
}

export type Request = Fault | Recall

/** A session that may hold the page, and the last grant that it was sent. */
export interface Copy {
  /** In the copyset. An owner that was not downgraded is not: it is revoked, not invalidated. */
  reader: boolean
  connection: number
  req: number
}

/** The one thing that is being done about a page. Everything else about the page waits for it (rule 5). */
export interface Operation {
  readonly id: number
  readonly kind: 'downgrade' | 'write'
  readonly request: Request
  /** How often the ownership had moved when the request came. */
  readonly turn: number
  /** Sessions whose invalidation is not acknowledged yet. */
  readonly invalidating: Set<SessionId>
  /** The owner that was asked to give the page up or to downgrade; 0: nobody. */
  asked: SessionId
  answered: boolean
  dirty: DirtyPageBytes | undefined
  /** Of the log entry: not proposed yet, under way, or applied (or none needed). */
  entry: 'none' | 'proposed' | 'done'
}

/** A request in the queue, and how often the ownership had moved when it came. */
export interface Waiting<R extends Request = Request> {
  readonly request: R
  readonly turn: number
}

/** Where a file is owned as a whole, the entry of its page 0 is the file's: faults on all pages wait in its queue. */
export class PageEntry {
  readonly copies = new Map<SessionId, Copy>()
  private queue: Waiting[] = []
  operation: Operation | undefined
  /** The owner with this epoch keeps a readable copy only, and everything it wrote is durable. 0: not known of any. */
  downgradedEpoch = 0
  /** Grants of ownership since there is this entry. */
  turns = 0

  constructor(
    readonly file: FileId,
    readonly page: number,
    readonly isWhole: boolean,
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

  /** Who is next. */
  get head(): Waiting | undefined {
    return this.queue[0]
  }

  push(request: Request): void {
    this.queue.push({ request, turn: this.turns })
  }

  shift(): void {
    this.queue.shift()
  }

  /** Takes the faults that `wanted` picks out of the queue, in order. */
  takeFaults(wanted: (fault: Fault) => boolean): Waiting<Fault>[] {
    const taken: Waiting<Fault>[] = []
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

  /** Records a grant. Call it before the grant is sent: a copy that the leader does not know of is never invalidated. */
  granted(fault: Fault, reader: boolean): void {
    this.copies.set(fault.session, { reader, connection: fault.connection, req: fault.req })
  }

  /** Nobody but `session` (0: nobody at all) holds the page any more. */
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
