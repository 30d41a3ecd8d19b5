import { QuotaExceededError, type Clock, type FrameStream, type Random } from '@quire/protocol'
import type { Stages } from '../observability/stages.js'
import type { SessionId } from '../state/view.js'
import { Connection } from './connection.js'
import type { OutgoingBytes } from './lane.js'
import type { ServerLimits } from './limits.js'

export interface ConnectionTableInit {
  readonly group: number
  readonly limits: ServerLimits
  readonly clock: Clock
  readonly random: Random
  readonly stages: Stages
}

/**
 * Holds the client connections of one term.
 *
 * Each has a number, which its bulk stream names. A connection that has registered also has a session.
 */
export class ConnectionTable {
  private readonly byNumber = new Map<number, Connection>()
  private readonly bySession = new Map<SessionId, Connection>()
  private readonly outgoing: OutgoingBytes = { total: 0 }

  constructor(private readonly init: ConnectionTableInit) {}

  /** The number of registered sessions. */
  get sessions(): number {
    return this.bySession.size
  }

  /** Returns all connections. */
  all(): Connection[] {
    return [...this.byNumber.values()]
  }

  /** Returns the connections that have a session. */
  registered(): Connection[] {
    return [...this.bySession.values()]
  }

  get(attach: number): Connection | undefined {
    return this.byNumber.get(attach)
  }

  ofSession(session: SessionId): Connection | undefined {
    return this.bySession.get(session)
  }

  /** Makes the connection of a control stream. Refuses it, and returns undefined, if there are too many. */
  add(control: FrameStream): Connection | undefined {
    const { group, limits, clock, random, stages } = this.init
    let attach: number
    do attach = 1 + Math.floor(random.next() * (2 ** 52 - 1))
    while (this.byNumber.has(attach))
    const connection = new Connection({
      group,
      control,
      attach,
      openedAtMs: clock.now(),
      limits,
      outgoing: this.outgoing,
      onTotalExceeded: () => this.dropSlowest(),
      clock,
      stages
    })
    const max = limits.maxSessions + limits.maxHandshakes
    if (this.byNumber.size >= max) {
      connection.refuse(new QuotaExceededError('connections', max))
      return undefined
    }
    this.byNumber.set(attach, connection)
    return connection
  }

  /** The session belongs to the connection from now on. Removes the session's earlier connection. */
  register(connection: Connection, session: SessionId): void {
    const older = this.bySession.get(session)
    if (older !== undefined) this.byNumber.delete(older.attach)
    this.bySession.set(session, connection)
  }

  /** Removes the connection. Returns its session, if the connection was here and had one. */
  remove(connection: Connection): SessionId | undefined {
    const { attach, session } = connection
    if (!this.byNumber.delete(attach) || this.bySession.get(session) !== connection) return undefined
    this.bySession.delete(session)
    return session
  }

  /** No session has a connection from now on. */
  unregisterAll(): void {
    this.bySession.clear()
  }

  clear(): void {
    this.bySession.clear()
    this.byNumber.clear()
  }

  /** Drops the client that has read least, so that the others do not suffer for it. */
  private dropSlowest(): void {
    let slowest: Connection | undefined
    for (const connection of this.byNumber.values()) {
      if (slowest === undefined || connection.waitingBytes > slowest.waitingBytes) slowest = connection
    }
    slowest?.abort(new QuotaExceededError('outgoing bytes of all clients', this.init.limits.maxTotalOutgoingBytes))
  }
}
