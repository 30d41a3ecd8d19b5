import { MAX_ROUND_TRIP_MS, MAX_SESSION_TTL_MS, MIN_SESSION_TTL_MS } from '@quire/protocol'

/** Limits of a group server. A client that exceeds one loses its connection, and the peer goes on. */
export interface ServerLimits {
  /** Sessions of the cluster, whether connected or not. */
  readonly maxSessions: number
  /** Connections that have not registered yet, in addition to one for each session. */
  readonly maxHandshakes: number
  /**
   * Limits the time from the opening of a stream to its first frame (one round trip), and from `welcome` to
   * `registered` (at most seven). It does not follow the cluster's timing, because clients may be farther away than the
   * peers.
   */
  readonly handshakeTimeoutMs: number
  /** The shortest session TTL that a client may ask for. The cluster's timing may give it a longer one. */
  readonly minTtlMs: number
  readonly maxTtlMs: number
  /** Outstanding faults of one session. The client learns this limit when it registers. */
  readonly maxFaults: number
  /** Sizes of the pages in unacknowledged writebacks of one session. The client learns this limit when it registers. */
  readonly creditBytes: number
  /** Unanswered requests and keep-alives of one session. */
  readonly maxRequests: number
  /**
   * Bytes that wait for one connection's streams. Has room for a grant with the largest page for each of `maxFaults`.
   */
  readonly maxOutgoingBytes: number
  /** Bytes that wait for the streams of all connections together. */
  readonly maxTotalOutgoingBytes: number
  /** Bytes of commands that wait for room in the log. Above it, requests and writebacks fail with UnavailableError. */
  readonly maxProposalBytes: number
  readonly leaseTickMs: number
}

export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  maxSessions: 1024,
  maxHandshakes: 64,
  handshakeTimeoutMs: 10 * MAX_ROUND_TRIP_MS,
  minTtlMs: MIN_SESSION_TTL_MS,
  maxTtlMs: MAX_SESSION_TTL_MS,
  maxFaults: 512,
  creditBytes: 1024 * 1024,
  maxRequests: 64,
  maxOutgoingBytes: 40 * 1024 * 1024,
  maxTotalOutgoingBytes: 256 * 1024 * 1024,
  maxProposalBytes: 16 * 1024 * 1024,
  leaseTickMs: 100
}
