/** Bounds for the steps of the protocol, derived from its constants. */
import type { RaftSettings } from './settings.js'

/** During quiescence, no message and no disk operation takes longer than this multiple of the mean. */
export const WORST_FACTOR = 3

/** A write to the log that needs a new segment creates the file, writes it, renames it and flushes the directory. */
const OPERATIONS_PER_WRITE = 4

/**
 * Election timeouts within which the caller of a transfer learns the outcome, in ticks of its own node. This holds at
 * any time, under all faults.
 *
 * - If the leader stays leader, the transfer fails after one election timeout (thesis §3.10).
 * - A leader that is deposed before that waits for another leader, for two more. Followers draw their timeouts from one
 *   to two, so the next election begins within that time. Without a majority nobody wins, and the wait ends here.
 */
export const TRANSFER_TIMEOUTS = 3

interface QuiescenceBounds {
  /** A leader that stays leader gives up a transfer after one election timeout. */
  readonly failedTransferMs: number
  /**
   * Time until a leader knows what every follower has. If a fault has cost an acknowledgment, the follower answers one
   * heartbeat without having acknowledged anything since the heartbeat before. Then an empty append follows, and its
   * reply: two heartbeat intervals and four messages.
   */
  readonly acknowledgedMs: number
  /**
   * Time from a leader's newest entry until the leader knows what room it has left to each follower. A message brings
   * the entry, and the follower writes it. The next file may fail to be made only after that. The next heartbeat, its
   * answer and the interval before it follow.
   */
  readonly roomKnownMs: number
  /**
   * Age, at the successor's election, of the answer that made a leader choose it: the answer's own age, the wait until
   * the successor has everything, and the transfer.
   */
  readonly handOverMs: number
  /**
   * A transfer to a voter that has everything takes three messages in sequence (`timeoutNow`, the vote request, the
   * vote) and two writes: the candidate's own vote and the other voter's are durable before they are sent.
   */
  readonly transferMs: number
  /**
   * Time per entry of a log that is behind, if the leader's limits let it send one entry at a time: the append, its
   * write and its reply.
   */
  readonly entryMs: number
}

export function quiescenceBounds({
  tickMs,
  electionTicks,
  heartbeatTicks,
  skew,
  network,
  disk
}: RaftSettings): QuiescenceBounds {
  // A clock runs slower than true time by `skew` at most, and each timer is up to 1 ms late.
  const ticks = (count: number): number => count * (tickMs / (1 - skew) + 1)
  const messageMs = network.roundTripMs / 2 + WORST_FACTOR * network.latencyMs
  const writeMs = OPERATIONS_PER_WRITE * WORST_FACTOR * disk.latencyMs
  const acknowledgedMs = ticks(2 * heartbeatTicks) + 4 * messageMs
  const roomKnownMs = ticks(heartbeatTicks) + 3 * messageMs + 2 * writeMs
  const transferMs = 3 * messageMs + 2 * writeMs
  return {
    failedTransferMs: ticks(electionTicks),
    acknowledgedMs,
    roomKnownMs,
    handOverMs: roomKnownMs + acknowledgedMs + transferMs,
    transferMs,
    entryMs: 2 * messageMs + writeMs
  }
}
