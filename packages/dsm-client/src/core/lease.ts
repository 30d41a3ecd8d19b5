/**
 * The client's half of its session's lease. The lease is counted from the moment when a keep-alive was *sent*, less a margin
 * for clocks that run at different speeds; the leader counts from the moment when it answered. So the client always stops
 * first, and what the cluster gives away after an expiry is no longer served from here.
 */

/** Clocks of two machines are taken to differ in speed by less than this. */
const DRIFT = 0.01

/** Keep-alives on their way at the same time, a quarter of the TTL apart: an answer to an older one would come too late. */
const MAX_UNANSWERED = 4

export class Lease {
  private ttlMs = 0
  private validUntil = 0
  private nonce = 0
  private sentAt = 0
  /** When each keep-alive that is not answered was sent, by nonce, oldest first. */
  private readonly unanswered = new Map<number, number>()
  private vouched = 0

  /** The session was opened or found alive by a register that was sent at `sentAt`. */
  begin(sentAt: number, ttlMs: number): void {
    this.ttlMs = ttlMs
    this.extend(sentAt)
    this.unanswered.clear()
  }

  /** The next keep-alive's nonce. */
  send(now: number): number {
    this.nonce++
    this.sentAt = now
    this.unanswered.set(this.nonce, now)
    if (this.unanswered.size > MAX_UNANSWERED) this.unanswered.delete(this.nonce - MAX_UNANSWERED)
    return this.nonce
  }

  /** An answer vouches for the moment when the keep-alive that it names was sent, and for no later one. */
  answered(nonce: number): void {
    const sentAt = this.unanswered.get(nonce)
    if (sentAt === undefined) return
    // The leader answers in order: what was sent before is answered by this, or never.
    for (const older of this.unanswered.keys()) if (older <= nonce) this.unanswered.delete(older)
    this.extend(sentAt)
  }

  /** The latest moment for which a majority has confirmed that the session's leader leads and the session lives. */
  get vouchedUntil(): number {
    return this.vouched
  }

  /** A keep-alive may be sent now, out of turn. */
  mayAsk(now: number): boolean {
    return this.unanswered.size === 0 || this.isDue(now)
  }

  /** Until then the cluster gives away nothing that this session holds. Check after copying, too: the process may have stood still. */
  isValid(now: number): boolean {
    return now < this.validUntil
  }

  /** Whether it is time for the next keep-alive. One that is not answered yet may be slow, or was never confirmed. */
  isDue(now: number): boolean {
    return now >= this.sentAt + this.ttlMs / 4
  }

  private extend(sentAt: number): void {
    this.sentAt = Math.max(this.sentAt, sentAt)
    this.vouched = Math.max(this.vouched, sentAt)
    this.validUntil = Math.max(this.validUntil, sentAt + this.ttlMs * (1 - DRIFT))
  }
}
