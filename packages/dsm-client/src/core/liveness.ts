/** Whether the leader of a connection is alive. */
import { PING_INTERVAL_MS, silenceLimit } from '@quire/protocol'

/**
 * Notices when the leader falls silent.
 *
 * This decides about the *connection*, and is independent of the lease: a client notices a dead leader within the same
 * time for every TTL, except that a short TTL shortens it.
 */
export class Liveness {
  private heardAt = 0
  /** When the first ping or keep-alive left that nothing has answered; undefined: the client awaits nothing. */
  private askedAt: number | undefined
  private limitMs = 0

  begin(now: number, ttlMs: number): void {
    this.limitMs = silenceLimit(ttlMs)
    this.heard(now)
  }

  /** A frame has arrived. Any frame counts, on either stream: on a thin line the answer queues behind others. */
  heard(now: number): void {
    this.heardAt = now
    this.askedAt = undefined
  }

  /**
   * A ping or keep-alive has left. No ping follows an unanswered keep-alive, because a leader without a majority
   * answers only pings.
   */
  asked(now: number): void {
    this.askedAt ??= now
  }

  /** A ping is due. */
  isDue(now: number): boolean {
    return this.askedAt === undefined && now - this.heardAt >= PING_INTERVAL_MS
  }

  /** The leader is dead, out of reach, or without a majority. */
  isSilent(now: number): boolean {
    return this.askedAt !== undefined && now - this.askedAt > this.limitMs
  }
}
