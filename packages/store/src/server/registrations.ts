/** How the connections of one leadership come to their sessions: a new one through the log, one that goes on after a quorum round. */
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
  /** Of a session that is opened now; see `timingOf`. */
  readonly minTtlMs: () => number
  /** The session is the connection's from now on. */
  readonly registered: (connection: Connection, session: SessionId, ttlMs: number) => void
  /** The client has gone over its bounds. */
  readonly violation: (connection: Connection, error: QuireError) => void
  /** The connection was closed here. */
  readonly forget: (connection: Connection) => void
  readonly guard: (input: () => void) => void
}

export class Registrations {
  /** Entries that open a session, by index; without those whose connection has gone. */
  private readonly opening = new Map<number, Connection>()
  private stopped = false

  constructor(private readonly init: RegistrationsInit) {}

  arrived(connection: Connection, message: ClientMessageOf<'register'>): void {
    if (connection.register !== undefined) {
      return this.init.violation(connection, new InvalidArgumentError('message', 'register', 'sent once'))
    }
    connection.register = message
    // The streams are not ordered among each other: the bulk stream's hello may still be on its way.
    if (connection.bulk !== undefined) this.register(connection, message)
  }

  /** Its bulk stream has come. */
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
    // Its client has gone before it learned of the session, and asks for another one when it comes back.
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
    // A quorum round first: without a majority, handshakes that are repeated again and again would fill the log with sessions.
    this.init.rounds.confirm(connection, (confirmed) =>
      this.init.guard(() => {
        if (this.stopped || connection.closed || !confirmed) return
        // Its own time to live stays in the log, and so the same when the timing changes: a client may count on what it
        // was told.
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

  /** A session goes on over a new connection. A quorum round first: the client may count its lease from here. */
  private resume(connection: Connection, session: SessionId): void {
    const { rounds, guard, view, leases, clock } = this.init
    rounds.confirm(connection, (confirmed) =>
      guard(() => {
        if (this.stopped || connection.closed || !confirmed) return
        const record = view.session(session)
        if (record === undefined || record.clientId !== connection.remote) return this.expired(connection, session)
        // Its expiry is on the way into the log: the answer follows when that is applied.
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
