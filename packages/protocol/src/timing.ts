/**
 * Times that both sides of a connection count on. They decide how soon something is noticed, never what is safe: leases
 * have their own clock (docs/coherence.md, "Leases").
 */

import { DEFAULT_ROUND_TRIP_MS, timingOf } from './round-trip.js'

/** The longest time from a leader's last word to the next election, where the peers are in one place. */
export const MAX_ELECTION_TIMEOUT_MS = 2 * timingOf(DEFAULT_ROUND_TRIP_MS).electionMs

/** A client that has heard nothing from its leader for this long sends a ping. */
export const PING_INTERVAL_MS = 1000

/**
 * A client gives its connection up after this long without any frame in reply to what it has sent. By then a cluster
 * that has lost its leader has elected another one, even if the first vote was split.
 */
export const SILENCE_LIMIT_MS = 5 * MAX_ELECTION_TIMEOUT_MS

/** Shares of a session's TTL. */
const SILENCE_SHARE = 1 / 3
const BULK_DELAY_SHARE = 1 / 8

/**
 * The longest time for which page bytes on their way may keep a control message waiting, beyond the line's round trip.
 */
export const MAX_BULK_DELAY_MS = 250
/** Up to here a line's own round trip is not taken for a queue. */
const MAX_BASE_DELAY_MS = 1000

/**
 * How long a session with this TTL bears silence. A short TTL leaves time to reach another leader before the lease
 * ends.
 */
export function silenceLimit(ttlMs: number): number {
  return Math.min(SILENCE_LIMIT_MS, ttlMs * SILENCE_SHARE)
}

/**
 * How long page bytes may queue on the line of a session with this TTL; and how much of their delay may be the line's
 * own.
 */
export function bulkDelays(ttlMs: number): { readonly queueMs: number; readonly baseMs: number } {
  const share = ttlMs * BULK_DELAY_SHARE
  return { queueMs: Math.min(MAX_BULK_DELAY_MS, share), baseMs: Math.min(MAX_BASE_DELAY_MS, share) }
}
