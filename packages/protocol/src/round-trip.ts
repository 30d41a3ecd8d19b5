/**
 * The durations that follow from the distance between the peers of a cluster. The cluster replicates one number, the
 * round trip. Each peer and client derives all other durations from it here. Timing affects liveness only: a node with
 * an outdated value may disturb or delay elections, but it breaks no guarantee.
 *
 * The round trips of one connection attempt, measured through a proxy that delays each byte (test/e2e/far.test.ts
 * counts them again):
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

/** For peers in one place. An election starts after 320 ms of silence at the earliest. */
export const DEFAULT_ROUND_TRIP_MS = 32
/** Below this, the pauses of a busy process look like a dead leader. */
export const MIN_ROUND_TRIP_MS = 10
/** Limits that cannot follow the replicated value, such as those for strangers, assume this one. */
export const MAX_ROUND_TRIP_MS = 1000
/**
 * The distance that a client may have from peers that are in one place. A client must connect before it can learn the
 * cluster's value, so its limits always allow for this distance.
 */
export const FAR_CLIENT_ROUND_TRIP_MS = 600

/** An election starts after one to two times this many round trips without a leader. */
const ELECTION_ROUND_TRIPS = 10
const ELECTION_TICKS = 16
/** Two and a half round trips, so the answer to a heartbeat arrives before the next heartbeat leaves. */
const HEARTBEAT_TICKS = 4
/** A step of a connection attempt needs three round trips at most. */
const STEP_ROUND_TRIPS = 4
/**
 * A session must survive the loss of its connection. A third of its time to live passes until a keep-alive is overdue.
 * A new connection then takes eight round trips, and two between the peers.
 */
const TTL_ROUND_TRIPS = 16
/** A keep-alive waits for the quorum round in progress, and then for its own. */
const ROUNDS_PER_KEEP_ALIVE = 2
/** A keep-alive is overdue after a third of the time to live. A quarter leaves room for other delays. */
const KEEP_ALIVES_PER_TTL = 4
/** Below this a lease could not survive the pauses of a busy machine. */
export const MIN_SESSION_TTL_MS = 500
/** Above this the cluster would keep the pages of a dead client for too long. */
export const MAX_SESSION_TTL_MS = 600_000

export interface Timing {
  readonly roundTripMs: number
  /** The length of a tick of the Raft node. `electionTicks` and `heartbeatTicks` are the same in every cluster. */
  readonly tickMs: number
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** A peer starts an election after this much silence at the earliest, and twice as much at the latest. */
  readonly electionMs: number
  /** How long a remote may take for one step of a connection attempt. */
  readonly stepMs: number
  /** The same through a relay, which is another peer. */
  readonly relayedStepMs: number
  /** The shortest time to live of a new session. */
  readonly minSessionTtlMs: number
}

/** Derives all durations from a round trip. Throws InvalidArgumentError if the round trip is out of range. */
export function timingOf(roundTripMs: number): Timing {
  checkRoundTrip(roundTripMs, 'roundTripMs')
  const electionMs = ELECTION_ROUND_TRIPS * roundTripMs
  const clientRoundTripMs = Math.max(roundTripMs, FAR_CLIENT_ROUND_TRIP_MS)
  return {
    roundTripMs,
    tickMs: electionMs / ELECTION_TICKS,
    electionTicks: ELECTION_TICKS,
    heartbeatTicks: HEARTBEAT_TICKS,
    electionMs,
    stepMs: STEP_ROUND_TRIPS * clientRoundTripMs,
    relayedStepMs: STEP_ROUND_TRIPS * (clientRoundTripMs + roundTripMs),
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
 * Returns the time to live that a client requests. The client wants `ttlMs`, its leader has answered after `answerMs`,
 * and the cluster's round trip is `roundTripMs`. If keep-alives can be answered within `ttlMs`, that is the result. A
 * shorter one is raised to what the distance needs. A single answer may be slow by chance, so it counts for the longest
 * permitted round trip at most.
 */
export function sessionTtlAt(answerMs: number, roundTripMs: number, ttlMs: number): number {
  const keepAliveMs = answerMs + ROUNDS_PER_KEEP_ALIVE * roundTripMs
  if (ttlMs >= KEEP_ALIVES_PER_TTL * keepAliveMs) return ttlMs
  const distanceMs = Math.min(Math.max(answerMs, roundTripMs), MAX_ROUND_TRIP_MS)
  return Math.max(ttlMs, Math.ceil(TTL_ROUND_TRIPS * distanceMs))
}
