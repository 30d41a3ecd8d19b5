/**
 * Whether the leader still says anything. This decides about the *connection*, and has nothing to do with the lease: how soon a
 * dead leader is noticed does not depend on the TTL, except that a short one shortens it.
 */
import { PING_INTERVAL_MS, silenceLimit } from '@quire/protocol'

export class Liveness {
  private heardAt = 0
  /** When a ping or keep-alive left after which nothing has come; undefined: nothing is awaited. */
  private askedAt: number | undefined
  private limitMs = 0

  /** A connection begins. */
  begin(now: number, ttlMs: number): void {
    this.limitMs = silenceLimit(ttlMs)
    this.heard(now)
  }

  /** Any frame counts, on either stream: on a thin line the answer queues behind others. */
  heard(now: number): void {
    this.heardAt = now
    this.askedAt = undefined
  }

  /** A ping or keep-alive has left. No ping follows a keep-alive that nothing came after: a leader without a majority answers only pings. */
  asked(now: number): void {
    this.askedAt ??= now
  }

  /** Time for a ping. */
  isDue(now: number): boolean {
    return this.askedAt === undefined && now - this.heardAt >= PING_INTERVAL_MS
  }

  /** The leader is dead, cannot be reached, or has no majority. */
  isSilent(now: number): boolean {
    return this.askedAt !== undefined && now - this.askedAt > this.limitMs
  }
}
