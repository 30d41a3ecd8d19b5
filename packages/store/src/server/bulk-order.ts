import { errorToWire, type CorruptionError, type LeaderMessage } from '@quire/protocol'
import { readGrant, type UnreadGrant } from '../directory/grant.js'
import { DamagedPageError } from '../state/damaged-page.js'
import type { FileId, SessionId, StateView } from '../state/view.js'
import type { Connection } from './connection.js'

/**
 * Calls `then`, later, when the page can be read again, or with the error if nobody has a good copy of it. Returns a
 * function that ends the wait.
 */
export type WhenRepaired = (
  file: FileId,
  page: number,
  then: (error: CorruptionError | undefined) => void
) => () => void

export interface BulkOrderInit {
  readonly view: StateView
  readonly whenRepaired: WhenRepaired
  /** Runs an input that does not come through the group server. */
  readonly guard: (input: () => void) => void
}

type Item = LeaderMessage | { readonly type: 'unread'; readonly grant: UnreadGrant }

/** The messages to one client that wait until a damaged page is repaired. */
interface Held {
  readonly connection: Connection
  readonly items: Item[]
  stopWaiting: () => void
}

/**
 * Sends the messages of the bulk lane in the order of the directory.
 *
 * A grant of a damaged page waits for its repair, and what follows waits behind it, as on a slow line. The page does
 * not change meanwhile: its next change first takes the page from this client, which answers after the grant.
 */
export class BulkOrder {
  private readonly held = new Map<SessionId, Held>()

  constructor(private readonly init: BulkOrderInit) {}

  send(connection: Connection, message: LeaderMessage): void {
    const held = this.heldFor(connection)
    if (held === undefined) connection.send('bulk', message)
    else held.items.push(message)
  }

  repairAndSend(connection: Connection, grant: UnreadGrant): void {
    const held = this.heldFor(connection)
    if (held !== undefined) {
      held.items.push({ type: 'unread', grant })
      return
    }
    const first: Held = { connection, items: [{ type: 'unread', grant }], stopWaiting: () => {} }
    this.held.set(connection.session, first)
    this.await(first, grant)
  }

  /** The session has no connection any more, or another one. */
  forget(session: SessionId): void {
    this.held.get(session)?.stopWaiting()
    this.held.delete(session)
  }

  /** Nothing is sent any more. */
  close(): void {
    for (const session of [...this.held.keys()]) this.forget(session)
  }

  private heldFor(connection: Connection): Held | undefined {
    return this.held.get(connection.session)
  }

  private await(held: Held, { file, page }: UnreadGrant): void {
    held.stopWaiting = this.init.whenRepaired(file, page, (error) => {
      this.init.guard(() => this.repaired(held, error))
    })
  }

  private repaired(held: Held, error: CorruptionError | undefined): void {
    const { connection, items } = held
    if (this.held.get(connection.session) !== held) return
    if (error !== undefined) {
      const { grant } = items.shift() as Extract<Item, { type: 'unread' }>
      const { term, req, file, page } = grant
      connection.send('control', { type: 'faultFailed', term, req, file, page, error: errorToWire(error) })
    }
    for (let item = items[0]; item !== undefined; item = items[0]) {
      if (item.type !== 'unread') connection.send('bulk', item)
      else if (!this.trySend(connection, item.grant)) return this.await(held, item.grant)
      items.shift()
    }
    this.held.delete(connection.session)
  }

  private trySend(connection: Connection, grant: UnreadGrant): boolean {
    try {
      connection.send('bulk', readGrant(this.init.view, grant))
      return true
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      return false
    }
  }
}
