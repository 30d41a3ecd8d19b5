/**
 * Whether the leader still says anything. This decides about the *connection*, and has nothing to do with the lease: how soon a
 * dead leader is noticed does not depend on the TTL, except that a short one shortens it.
 */
import { PING_INTERVAL_MS, silenceLimit } from '@quire/protocol'

export class Liveness {
  private heardAt = 0
  private wordAt = 0
  /** When something left that the leader answers at once, and nothing has come since; undefined: nothing is awaited. */
  private askedAt: number | undefined
  private limitMs = 0

  /** A connection begins. */
  begin(now: number, ttlMs: number): void {
    this.limitMs = silenceLimit(ttlMs)
    this.heard(now)
  }

  /** Any frame counts, on either stream: on a thin line the answer queues behind others. A pong is not a `word`. */
  heard(now: number, isWord = true): void {
    this.heardAt = now
    if (isWord) this.wordAt = now
    this.askedAt = undefined
  }

  /** When the leader last said more than that it is there. */
  get lastWordAt(): number {
    return this.wordAt
  }

  asked(now: number): void {
    this.askedAt ??= now
  }

  /** Time for a ping. */
  isDue(now: number): boolean {
    return this.askedAt === undefined && now - this.heardAt >= PING_INTERVAL_MS
  }

  /** The leader is dead, or cannot be reached. */
  isSilent(now: number): boolean {
    return this.askedAt !== undefined && now - this.askedAt > this.limitMs
  }
}
