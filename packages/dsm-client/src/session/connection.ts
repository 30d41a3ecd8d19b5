/** Registered connections to the leader. */
import type { ClientMessage, LeaderMessage, LeaderMessageOf, Role } from '@quire/protocol'

export type Lane = 'control' | 'bulk'

export interface Connection {
  readonly remote: string
  /** The PeerId of the peer that relays; undefined: the connection is direct. */
  readonly relay: string | undefined
  readonly term: number
  readonly registered: LeaderMessageOf<'registered'>
  /** When the `register` left, in milliseconds. The lease counts from there. */
  readonly registeredAt: number
  /** Passes on every message that follows `registered`, starting with those that have arrived. Call it once. */
  start(onMessage: (message: LeaderMessage) => void): void
  /** Resolves with the reason when the connection ends. Never rejects. */
  readonly closed: Promise<Error>
  send(lane: Lane, message: ClientMessage): void
  /** The leader reports that it has received this many bytes of bulk frames in all. */
  bulkReceived(bytes: number): void
  /** Bytes that may be on their way on bulk. The connection holds back what exceeds them. */
  readonly bulkWindowBytes: number
  /** Bytes that were sent on bulk and that the leader has not reported as received. */
  readonly bulkUnreceivedBytes: number
  /** Ends the connection after the frames that were sent. */
  close(reason?: Error): void
  /** Ends the connection at once. */
  abort(reason: Error): void
}

/** The peer does not lead. As far as it knows, `leader` does; empty: it knows none. */
export class RedirectError extends Error {
  override readonly name = 'RedirectError'
  constructor(
    readonly leader: string,
    readonly term: number,
    /** The role of the peer. */
    readonly role: Role
  ) {
    super(leader === '' ? 'no leader is known' : `the leader is ${leader}`)
  }
}

/** The client has found a direct path to the leader and ends the relayed connection. */
export class DirectPathError extends Error {
  override readonly name = 'DirectPathError'
  constructor() {
    super('there is a direct path')
  }
}

/** The peer claims to lead but does not confirm the session: it may lack a majority. */
export class StalledError extends Error {
  override readonly name = 'StalledError'
  constructor(readonly reason: string) {
    super(reason)
  }
}
