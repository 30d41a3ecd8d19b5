/** The client's half of its session's lease. */

/** The margin for clocks that run at different speeds. */
const DRIFT = 0.01

/**
 * Unanswered keep-alives that the client remembers. They leave a quarter of the TTL apart: an older answer would come
 * too late.
 */
const MAX_UNANSWERED = 4

/**
 * Tells how long the session's pages may be used.
 *
 * The client counts the lease from the moment when it *sent* a keep-alive, less a margin for clocks that run at
 * different speeds. The leader counts from the moment when it answered. So the client stops first, and never serves a
 * page that the cluster has given away after an expiry.
 */
export class Lease {
  private ttlMs = 0
  private validUntil = 0
  private nonce = 0
  private sentAt = 0
  /** When the client sent each unanswered keep-alive, by nonce, the oldest first. */
  private readonly unanswered = new Map<number, number>()
  private vouched = 0

  /** The leader has answered a `register` that the client sent at `sentAt`: the session is open. */
  begin(sentAt: number, ttlMs: number): void {
    this.ttlMs = ttlMs
    this.extend(sentAt)
    this.unanswered.clear()
  }

  /** A keep-alive leaves now. Returns its nonce. */
  send(now: number): number {
    this.nonce++
    this.sentAt = now
    this.unanswered.set(this.nonce, now)
    if (this.unanswered.size > MAX_UNANSWERED) this.unanswered.delete(this.nonce - MAX_UNANSWERED)
    return this.nonce
  }

  /** An answer extends the lease from the moment when the client sent the keep-alive that the answer names. */
  answered(nonce: number): void {
    const sentAt = this.unanswered.get(nonce)
    if (sentAt === undefined) return
    // The leader answers in order: it has answered every older keep-alive, or never will.
    for (const older of this.unanswered.keys()) if (older <= nonce) this.unanswered.delete(older)
    this.extend(sentAt)
  }

  /** The latest moment at which, by a majority's word, the leader led and the session was alive. */
  get vouchedUntil(): number {
    return this.vouched
  }

  /** When the lease ends unless it is extended, in milliseconds. */
  get end(): number {
    return this.validUntil
  }

  /** A keep-alive may leave now, out of turn. */
  mayAsk(now: number): boolean {
    return this.unanswered.size === 0 || this.isDue(now)
  }

  /**
   * Whether the cluster keeps this session's pages for it at this moment. Check again after a copy: the process may
   * have been stopped in between.
   */
  isValid(now: number): boolean {
    return now < this.validUntil
  }

  /** Whether the next keep-alive is due. It does not wait for the answer to the last one, which may never come. */
  isDue(now: number): boolean {
    return now >= this.sentAt + this.ttlMs / 4
  }

  private extend(sentAt: number): void {
    this.sentAt = Math.max(this.sentAt, sentAt)
    this.vouched = Math.max(this.vouched, sentAt)
    this.validUntil = Math.max(this.validUntil, sentAt + this.ttlMs * (1 - DRIFT))
  }
}
