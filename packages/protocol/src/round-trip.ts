/**
 * Every duration that follows from how far the peers of a cluster are apart. The cluster replicates one number, the
 * round trip, and each peer and client derives the rest here. Timing is liveness only: a node that does not have the
 * current value yet may disturb or delay elections, but breaks no promise.
 *
 * Round trips of one connection attempt, measured through a proxy that delays each byte (test/e2e/far.test.ts counts
 * them again):
 *
 * | step | round trips |
 * |---|---|
 * | TCP | 1 |
 * | multistream-select and Noise, which settles on Yamux as well | 2 |
 * | the control stream's protocol | 1 |
 * | hello, welcome | 1 |
 * | the bulk stream's protocol | 1 |
 * | hello, attached | 1 |
 * | register, registered | 1, and 2 between the peers: a quorum round and the entry that opens the session |
 */
import { InvalidArgumentError } from './errors.js'

/** For peers in one place: an election after 320 ms of silence at the earliest. */
export const DEFAULT_ROUND_TRIP_MS = 32
/** Below this, pauses of a busy process look like a dead leader. */
export const MIN_ROUND_TRIP_MS = 10
/** Limits that cannot follow the value, such as those on connections of strangers, suffice for this. */
export const MAX_ROUND_TRIP_MS = 1000
/**
 * A client may be so far from a leader whose peers are in one place. A client has to connect before it can learn the
 * cluster's value, so its limits never fall below what this distance needs.
 */
export const FAR_CLIENT_ROUND_TRIP_MS = 600

/** An election starts after this many round trips without a leader, or up to twice as many. */
const ELECTION_ROUND_TRIPS = 10
const ELECTION_TICKS = 16
/** Two and a half round trips: the answer to one heartbeat arrives before the next leaves. */
const HEARTBEAT_TICKS = 4
/** No step of a connection attempt needs more than three. */
const STEP_ROUND_TRIPS = 4
/**
 * A session survives the loss of its connection: a third of its time to live passes until a keep-alive is overdue, and
 * a new connection takes eight round trips and two of the peers.
 */
const TTL_ROUND_TRIPS = 16
/** A keep-alive waits for the quorum round that is under way, and then for one of its own. */
const ROUNDS_PER_KEEP_ALIVE = 2
/** A keep-alive is overdue after a third of the time to live; a quarter leaves room for what else takes time. */
const KEEP_ALIVES_PER_TTL = 4
/** Below this a lease could not survive a busy machine's pauses. */
export const MIN_SESSION_TTL_MS = 500
/** Above this the pages of a client that is gone would be kept for too long. */
export const MAX_SESSION_TTL_MS = 600_000

export interface Timing {
  readonly roundTripMs: number
  /** Length of a tick of the Raft node; `electionTicks` and `heartbeatTicks` are the same in every cluster. */
  readonly tickMs: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** The shortest silence after which a peer starts an election; the longest is twice as long. */
  readonly electionMs: number
  /** How long a remote may take for one step of a connection attempt. */
  readonly stepMs: number
  /** A new session lives at least so long without a keep-alive. */
  readonly minSessionTtlMs: number
}

/** Throws InvalidArgumentError for a round trip that no cluster may have. */
export function timingOf(roundTripMs: number): Timing {
  checkRoundTrip(roundTripMs, 'roundTripMs')
  const electionMs = ELECTION_ROUND_TRIPS * roundTripMs
  return {
    roundTripMs,
    tickMs: electionMs / ELECTION_TICKS,
    electionTicks: ELECTION_TICKS,
    heartbeatTicks: HEARTBEAT_TICKS,
    electionMs,
    stepMs: STEP_ROUND_TRIPS * Math.max(roundTripMs, FAR_CLIENT_ROUND_TRIP_MS),
    minSessionTtlMs: Math.max(MIN_SESSION_TTL_MS, TTL_ROUND_TRIPS * roundTripMs)
  }
}

export function checkRoundTrip(value: number, argument: string): void {
  if (Number.isInteger(value) && value >= MIN_ROUND_TRIP_MS && value <= MAX_ROUND_TRIP_MS) return
  throw new InvalidArgumentError(
    argument,
    value,
    `whole milliseconds from ${MIN_ROUND_TRIP_MS} to ${MAX_ROUND_TRIP_MS}`
  )
}

/**
 * The time to live that a client asks for. It wants `ttlMs`, its leader has answered after `answerMs`, and the
 * cluster's round trip is `roundTripMs`. A time to live within which keep-alives can be answered stays what it is. A
 * shorter one becomes what this distance needs; the answer may have been slow by chance, so it never counts for more
 * than the longest lawful round trip.
 */
export function sessionTtlAt(answerMs: number, roundTripMs: number, ttlMs: number): number {
  const keepAliveMs = answerMs + ROUNDS_PER_KEEP_ALIVE * roundTripMs
  if (ttlMs >= KEEP_ALIVES_PER_TTL * keepAliveMs) return ttlMs
  const distanceMs = Math.min(Math.max(answerMs, roundTripMs), MAX_ROUND_TRIP_MS)
  return Math.max(ttlMs, Math.ceil(TTL_ROUND_TRIPS * distanceMs))
}
