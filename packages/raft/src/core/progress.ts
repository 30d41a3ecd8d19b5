/**
 * What a leader knows of one other node. In `probe` one append at a time looks for the point where the logs match; in
 * `replicate` appends are pipelined, as many as the limits allow, and `next` runs ahead of the acknowledgements.
 */
export class Progress {
  mode: 'probe' | 'replicate' = 'probe'
  /** The highest index known to be durable there. */
  match = 0
  /** A probe was sent and neither answered nor timed out. */
  probing = false
  /** Something was acknowledged since this was last set to false. */
  heardOf = false
  /** It answered since the leader last counted who does (see checkQuorum). */
  active = false
  private inflight: { last: number; bytes: number }[] = []
  private inflightBytes = 0

  /** `next` is the first entry to send. */
  constructor(public next: number) {}

  canSend(maxMessages: number, maxBytes: number): boolean {
    if (this.mode === 'probe') return !this.probing
    return this.inflight.length < maxMessages && this.inflightBytes < maxBytes
  }

  /** An append with entries up to `last` has left. */
  sent(last: number, bytes: number): void {
    if (this.mode === 'probe') {
      this.probing = true
      return
    }
    this.next = last + 1
    this.inflight.push({ last, bytes })
    this.inflightBytes += bytes
  }

  /** Everything up to `index` is durable there. True when that is news. */
  accepted(index: number): boolean {
    const news = index > this.match
    this.heardOf = true
    this.match = Math.max(this.match, index)
    if (this.mode === 'probe') {
      if (!news && index < this.match) return false
      this.mode = 'replicate'
      this.probing = false
      this.next = this.match + 1
      return news
    }
    this.next = Math.max(this.next, index + 1)
    let settled = 0
    while (settled < this.inflight.length && this.inflight[settled]!.last <= index) {
      this.inflightBytes -= this.inflight[settled]!.bytes
      settled++
    }
    this.inflight.splice(0, settled)
    return news
  }

  /**
   * The append after `index` did not match; the logs may match at `hint`. False when the answer is late: what it says was
   * overtaken. `match` never goes back, because what it counts is durable.
   */
  rejected(index: number, hint: number): boolean {
    if (this.mode === 'replicate') {
      if (index <= this.match) return false
      this.mode = 'probe'
      this.probing = false
      this.inflight = []
      this.inflightBytes = 0
      this.next = this.match + 1
      return true
    }
    if (this.next - 1 !== index) return false
    this.next = Math.max(Math.min(index, hint + 1), this.match + 1)
    this.probing = false
    return true
  }
}
