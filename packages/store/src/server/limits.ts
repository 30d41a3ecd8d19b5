import { MAX_ROUND_TRIP_MS, MAX_SESSION_TTL_MS, MIN_SESSION_TTL_MS } from '@quire/protocol'

/** Bounds of the session server. A client that exceeds one loses its connection; the peer goes on. */
export interface ServerLimits {
  /** Sessions of the cluster, connected or not. */
  readonly maxSessions: number
  /** Connections that have not registered yet, beyond one for each session. */
  readonly maxHandshakes: number
  /**
   * From opening a stream to its first frame, one round trip, and from welcome to registered, at most seven. It does
   * not follow the cluster's timing, because clients may be farther away than the peers.
   */
  readonly handshakeTimeoutMs: number
  /** What a client may ask for. The cluster's timing may give more. */
  readonly minTtlMs: number
  readonly maxTtlMs: number
  /** Outstanding faults of one session; told to the client. */
  readonly maxFaults: number
  /** Page bytes in unacknowledged writebacks of one session; told to the client. */
  readonly creditBytes: number
  /** Unanswered requests and keep-alives of one session. */
  readonly maxRequests: number
  /** Frames waiting for one connection's streams. Holds an answer with bytes to each of `maxFaults`, whatever the page size. */
  readonly maxOutgoingBytes: number
  /** Frames waiting for all connections' streams together. */
  readonly maxTotalOutgoingBytes: number
  /** Commands waiting for room in the log; above that, requests and writebacks fail with UnavailableError. */
  readonly maxProposalBytes: number
  readonly leaseTickMs: number
}

export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  maxSessions: 1024,
  maxHandshakes: 64,
  handshakeTimeoutMs: 10 * MAX_ROUND_TRIP_MS,
  minTtlMs: MIN_SESSION_TTL_MS,
  maxTtlMs: MAX_SESSION_TTL_MS,
  maxFaults: 256,
  creditBytes: 1024 * 1024,
  maxRequests: 64,
  maxOutgoingBytes: 20 * 1024 * 1024,
  maxTotalOutgoingBytes: 256 * 1024 * 1024,
  maxProposalBytes: 16 * 1024 * 1024,
  leaseTickMs: 100
}
