/** What the leader remembers about one page: volatile, and always a superset of the copies that exist. */
import { assert, type Access, type DirtyPageBytes } from '@quire/protocol'
import type { FileId, SessionId } from '../state/view.js'

/** A fault that waits for its grant. It lives as long as the connection that it came on; the client repeats it on the next. */
export interface Request {
  readonly session: SessionId
  readonly connection: number
  readonly req: number
  readonly access: Access
  /** Version of the copy that the requester held when it asked; 0: none. */
  readonly have: number
}

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
  /** Sessions whose invalidation is not acknowledged yet. */
  readonly invalidating: Set<SessionId>
  /** The owner that was asked to give the page up or to downgrade; 0: nobody. */
  asked: SessionId
  answered: boolean
  dirty: DirtyPageBytes | undefined
  /** Of the log entry: not proposed yet, under way, or applied (or none needed). */
  entry: 'none' | 'proposed' | 'done'
}

export class PageEntry {
  readonly copies = new Map<SessionId, Copy>()
  readonly queue: Request[] = []
  operation: Operation | undefined
  /** The owner with this epoch keeps a readable copy only, and everything it wrote is durable. 0: not known of any. */
  downgradedEpoch = 0

  constructor(
    readonly file: FileId,
    readonly page: number,
    inherited: Iterable<SessionId>
  ) {
    for (const session of inherited) this.copies.set(session, { reader: true, connection: 0, req: 0 })
  }

  get idle(): boolean {
    return this.operation === undefined && this.queue.length === 0 && this.copies.size === 0
  }

  /** Records a grant. Call it before the grant is sent: a copy that the leader does not know of is never invalidated. */
  granted(request: Request, reader: boolean): void {
    this.copies.set(request.session, { reader, connection: request.connection, req: request.req })
  }

  begin(operation: Operation): void {
    assert(this.operation === undefined, `page ${this.file}:${this.page}: a second operation at a time`)
    this.operation = operation
  }
}
