/** How long the steps of the protocol take at most in peace. Each bound is derived from the protocol's constants; none is a guess. */
import type { RaftSettings } from './settings.js'

/** In peace, no message and no disk operation takes longer than this multiple of the mean. */
export const WORST_FACTOR = 3

/** A write to the log that needs a new segment: create the file, write it, rename it, flush the directory. */
const OPERATIONS_PER_WRITE = 4

/**
 * Election timeouts within which the caller of a transfer hears what became of it, counted in ticks of its own node, in war and peace.
 *
 * - While the node leads, the transfer fails after one election timeout (thesis §3.10).
 * - A leader that is deposed before that waits for another leader to show up, for two election timeouts: a follower stands within two (its
 *   timeout is drawn from one to two), and when it wins, this node hears of it. Without a majority nobody wins, and the wait ends here.
 */
export const TRANSFER_TIMEOUTS = 3

export interface PeaceBounds {
  /** A leader that stays in office gives a transfer up after one election timeout. */
  readonly failedTransferMs: number
  /**
   * A leader that has sent everything knows what every follower has. An acknowledgement that a fault has cost is noticed by the second heartbeat from
   * then on, which nothing was acknowledged before; the empty append and its answer follow: two intervals and four messages.
   */
  readonly acknowledgedMs: number
  /** `timeoutNow`, request and vote are three messages in sequence; the candidate's vote and the voters' are durable before they leave. */
  readonly transferMs: number
}

export function peaceBounds({ tickMs, electionTicks, heartbeatTicks, skew, network, disk }: RaftSettings): PeaceBounds {
  // A clock runs slower than true time by `skew` at most, and each timer is up to 1 ms late.
  const ticks = (count: number): number => count * (tickMs / (1 - skew) + 1)
  const messageMs = WORST_FACTOR * network.latencyMs
  const writeMs = OPERATIONS_PER_WRITE * WORST_FACTOR * disk.latencyMs
  return {
    failedTransferMs: ticks(electionTicks),
    acknowledgedMs: ticks(2 * heartbeatTicks) + 4 * messageMs,
    transferMs: 3 * messageMs + 2 * writeMs
  }
}
