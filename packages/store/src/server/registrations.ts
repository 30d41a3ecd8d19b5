import {
  InvalidArgumentError,
  QuotaExceededError,
  type ClientMessageOf,
  type Clock,
  type QuireError
} from '@quire/protocol'
import type { Leases } from './leases.js'
import type { SessionId, StateView } from '../state/view.js'
import type { Connection } from './connection.js'
import type { ServerLimits } from './limits.js'
import type { Proposals } from './proposals.js'
import type { QuorumRounds } from './quorum-rounds.js'
import type { RaftPort } from './raft-port.js'
import { OVERLOADED } from './request-handler.js'

export interface RegistrationsInit {
  readonly term: number
  readonly raft: Pick<RaftPort, 'status'>
  readonly view: StateView
  readonly leases: Leases
  readonly proposals: Proposals
  readonly rounds: QuorumRounds
  readonly limits: ServerLimits
  readonly clock: Pick<Clock, 'now'>
  /** The shortest TTL of a session that is opened now; see `timingOf`. */
  readonly minTtlMs: () => number
  /** The session belongs to the connection from now on. */
  readonly registered: (connection: Connection, session: SessionId, ttlMs: number) => void
  /** The client has exceeded its limits. */
  readonly violation: (connection: Connection, error: QuireError) => void
  /** The connection was closed by this class. */
  readonly forget: (connection: Connection) => void
  readonly guard: (input: () => void) => void
}

/**
 * Gives the connections of one term their sessions.
 *
 * A new session is opened through the log. An existing session moves to its new connection after a quorum round.
 */
export class Registrations {
  /** The connections whose sessions are being opened, by the index of their entries. */
  private readonly opening = new Map<number, Connection>()
  private stopped = false

  constructor(private readonly init: RegistrationsInit) {}

  arrived(connection: Connection, message: ClientMessageOf<'register'>): void {
    if (connection.register !== undefined) {
      return this.init.violation(connection, new InvalidArgumentError('message', 'register', 'sent once'))
    }
    connection.register = message
    // The two streams have no common order, so the hello of the bulk stream may still be in flight.
    if (connection.bulk !== undefined) this.register(connection, message)
  }

  /** The bulk stream of the connection has arrived. */
  attached(connection: Connection): void {
    if (connection.register !== undefined) this.register(connection, connection.register)
  }

  /** The entry at `index` has opened a session. */
  opened(index: number, session: SessionId): void {
    const { view, leases, clock, proposals } = this.init
    const connection = this.opening.get(index)
    this.opening.delete(index)
    const record = view.session(session)
    if (record === undefined) return
    leases.opened(record, clock.now())
    if (connection !== undefined && !connection.closed) this.init.registered(connection, session, record.ttlMs)
    // The client left before it learned of the session. When it comes back, it asks for another one.
    else proposals.add({ type: 'endSession', session })
  }

  expired(connection: Connection, session: SessionId): void {
    connection.finish({ type: 'expired', session })
    this.init.forget(connection)
  }

  /** The connection is gone. */
  forget(connection: Connection): void {
    for (const [index, opening] of this.opening) if (opening === connection) this.opening.delete(index)
  }

  stop(): void {
    this.stopped = true
    this.opening.clear()
  }

  private register(connection: Connection, { session, ttlMs }: ClientMessageOf<'register'>): void {
    const { limits } = this.init
    if (session !== 0) return this.resume(connection, session)
    if (ttlMs < limits.minTtlMs || ttlMs > limits.maxTtlMs) {
      const expected = `${limits.minTtlMs} to ${limits.maxTtlMs}`
      return this.init.violation(connection, new InvalidArgumentError('sessionTtlMs', ttlMs, expected))
    }
    // A quorum round first: without a majority, repeated handshakes would fill the log with sessions.
    this.init.rounds.confirm(connection, (confirmed) =>
      this.init.guard(() => {
        if (this.stopped || connection.closed || !confirmed) return
        // The log keeps this TTL. It stays the same when the cluster's timing changes, so the client can rely on it.
        this.open(connection, Math.max(ttlMs, this.init.minTtlMs()))
      })
    )
  }

  private open(connection: Connection, ttlMs: number): void {
    const { limits, view, raft, term, proposals } = this.init
    if (countOf(view.sessions()) + this.opening.size >= limits.maxSessions) {
      return this.init.violation(connection, new QuotaExceededError('sessions', limits.maxSessions))
    }
    if (raft.status().term !== term) return
    if (proposals.full) {
      connection.refuse(OVERLOADED)
      return this.init.forget(connection)
    }
    proposals.add({ type: 'openSession', clientId: connection.remote, ttlMs }, (index) => {
      if (!connection.closed) this.opening.set(index, connection)
    })
  }

  /**
   * Moves a session to its new connection. A quorum round comes first, because the client counts its lease from here.
   */
  private resume(connection: Connection, session: SessionId): void {
    const { rounds, guard, view, leases, clock } = this.init
    rounds.confirm(connection, (confirmed) =>
      guard(() => {
        if (this.stopped || connection.closed || !confirmed) return
        const record = view.session(session)
        if (record === undefined || record.clientId !== connection.remote) return this.expired(connection, session)
        // Its expiry is on the way into the log. The answer follows when that entry is applied.
        if (leases.expiring(session)) return
        leases.renewed(session, clock.now())
        this.init.registered(connection, session, record.ttlMs)
      })
    )
  }
}

function countOf(items: Iterable<unknown>): number {
  let count = 0
  for (const _ of items) count++
  return count
}
