/** What relayed connections may cost a relay (docs/ARCHITECTURE.md, "Relays"). */
import { MAX_ROUND_TRIP_MS } from '@quire/protocol'

/** While a client changes leaders, its old relayed connection may still be closing. */
export const MAX_RELAYED_OF_A_CLIENT = 4
export const MAX_RELAYED = 256
/**
 * The largest window of Yamux at a peer, and so the unread bytes of a relayed connection in one direction. As much as
 * Raft has in flight to a follower, so it slows down nothing else.
 */
export const PEER_WINDOW_BYTES = 4 * 1024 * 1024
/** For the handshake of a relayed connection: as for the one of a socket. */
export const RELAY_HANDSHAKE_MS = 5 * MAX_ROUND_TRIP_MS

/** What a relay and the members that it leads to need to know. */
export interface RelayRole {
  /** Only members are reached through relays, and only members relay. */
  readonly isMember: (peerId: string) => boolean
  /** The protocols that may run on a relayed connection. */
  readonly protocols: readonly string[]
}
