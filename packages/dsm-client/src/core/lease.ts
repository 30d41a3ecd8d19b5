/**
 * The client's half of its session's lease. The lease is counted from the moment when a keep-alive was *sent*, less a margin
 * for clocks that run at different speeds; the leader counts from the moment when it answered. So the client always stops
 * first, and what the cluster gives away after an expiry is no longer served from here.
 */

/** Clocks of two machines are taken to differ in speed by less than this. */
const DRIFT = 0.01

export class Lease {
  private ttlMs = 0
  private validUntil = 0
  private nonce = 0
  private sentAt = 0
  private unanswered = false
  private vouched = 0

  /** The session was opened or found alive by a register that was sent at `sentAt`. */
  begin(sentAt: number, ttlMs: number): void {
    this.ttlMs = ttlMs
    this.extend(sentAt)
    this.unanswered = false
  }

  /** The next keep-alive's nonce. At most one is under way: a later answer must not vouch for an earlier moment. */
  send(now: number): number {
    this.nonce++
    this.sentAt = now
    this.unanswered = true
    return this.nonce
  }

  answered(nonce: number): void {
    if (!this.unanswered || nonce !== this.nonce) return
    this.unanswered = false
    this.extend(this.sentAt)
  }

  /** The latest moment for which a majority has confirmed that the session's leader leads and the session lives. */
  get vouchedUntil(): number {
    return this.vouched
  }

  /** A keep-alive could be sent now. */
  get mayAsk(): boolean {
    return !this.unanswered
  }

  /** Until then the cluster gives away nothing that this session holds. Check after copying, too: the process may have stood still. */
  isValid(now: number): boolean {
    return now < this.validUntil
  }

  /** Whether it is time for the next keep-alive. */
  isDue(now: number): boolean {
    return !this.unanswered && now >= this.sentAt + this.ttlMs / 4
  }

  /** A keep-alive has gone unanswered for so long that the leader may have no majority any more: look for another. */
  isOverdue(now: number): boolean {
    return this.unanswered && now - this.sentAt > this.ttlMs / 3
  }

  private extend(sentAt: number): void {
    this.sentAt = Math.max(this.sentAt, sentAt)
    this.vouched = Math.max(this.vouched, sentAt)
    this.validUntil = Math.max(this.validUntil, sentAt + this.ttlMs * (1 - DRIFT))
  }
}
