/**
 * Durations that both sides of a connection rely on. They affect how soon a failure is noticed, and never safety:
 * leases have their own rules (docs/coherence.md, "Leases").
 */

import { DEFAULT_ROUND_TRIP_MS, timingOf } from './round-trip.js'

/** The longest time from a leader's last message to the next election, for peers in one place. */
const MAX_ELECTION_TIMEOUT_MS = 2 * timingOf(DEFAULT_ROUND_TRIP_MS).electionMs

/** A client sends a ping when it has received nothing from its leader for this long. */
export const PING_INTERVAL_MS = 1000

/**
 * A client abandons its connection when its messages have had no reply for this long. By then a cluster that has lost
 * its leader has elected another one, even after a split vote.
 */
export const SILENCE_LIMIT_MS = 5 * MAX_ELECTION_TIMEOUT_MS

/** Shares of a session's TTL. */
const SILENCE_SHARE = 1 / 3
const BULK_DELAY_SHARE = 1 / 8

/**
 * The longest time that page bytes in flight may delay a control message, beyond the round trip of the line.
 */
const MAX_BULK_DELAY_MS = 250
/** Up to this delay, the round trip of a line does not count as queueing. */
const MAX_BASE_DELAY_MS = 1000

/**
 * Returns how long a client with this TTL waits for a reply before it abandons its connection. A short TTL leaves time
 * to reach another leader before the lease ends.
 */
export function silenceLimit(ttlMs: number): number {
  return Math.min(SILENCE_LIMIT_MS, ttlMs * SILENCE_SHARE)
}

/**
 * Returns the limits of `BulkWindow` for a session with this TTL: how long page bytes may queue, and how much of their
 * delay may count as the line's own.
 */
export function bulkDelays(ttlMs: number): { readonly queueMs: number; readonly baseMs: number } {
  const share = ttlMs * BULK_DELAY_SHARE
  return { queueMs: Math.min(MAX_BULK_DELAY_MS, share), baseMs: Math.min(MAX_BASE_DELAY_MS, share) }
}
