/** Registered connections to the leader. */
import type { ClientMessage, LeaderMessage, LeaderMessageOf, Role } from '@quire/protocol'

export type Lane = 'control' | 'bulk'

export interface Connection {
  readonly remote: string
  readonly term: number
  readonly registered: LeaderMessageOf<'registered'>
  /** When the register left: the lease counts from there. */
  readonly registeredAt: number
  /** Hands over every message behind the registered, also those that have arrived by now. Call it once. */
  start(onMessage: (message: LeaderMessage) => void): void
  /** Resolves, once, with the reason. */
  readonly closed: Promise<Error>
  send(lane: Lane, message: ClientMessage): void
  /** The leader has received this many bytes of bulk frames, in all. */
  bulkReceived(bytes: number): void
  /** Bytes that may be on their way on bulk; what is sent beyond that waits here. */
  readonly bulkWindowBytes: number
  /** Bytes sent on bulk that the leader has not reported as received. */
  readonly bulkUnreceivedBytes: number
  /** In order; `closed` resolves with the reason. */
  close(reason?: Error): void
  abort(reason: Error): void
}

/** The peer does not lead; `leader` does, as far as it knows. */
export class RedirectError extends Error {
  override readonly name = 'RedirectError'
  constructor(
    readonly leader: string,
    readonly term: number,
    /** The peer's own. */
    readonly role: Role
  ) {
    super(leader === '' ? 'no leader is known' : `the leader is ${leader}`)
  }
}

/** The peer takes itself for the leader, and cannot open the session: it may have no majority. */
export class StalledError extends Error {
  override readonly name = 'StalledError'
  constructor(readonly reason: string) {
    super(reason)
  }
}
