import type { RaftRoom } from '@quire/protocol'
import type { SnapshotMeta } from './types.js'

/** A snapshot on its way to a follower. */
export interface OutgoingSnapshot {
  readonly snapshot: SnapshotMeta
  /** Everything before is stored there. */
  offset: number
  /** The piece at `offset`: not asked for, being read here, or sent. */
  piece: 'none' | 'reading' | 'sent'
}

/**
 * What a leader knows of one other node. In `probe` one append at a time looks for the point where the logs match; in
 * `replicate` appends are pipelined, as many as the limits allow, and `next` runs ahead of the acknowledgements; in
 * `snapshot` the node gets a snapshot, because the log does not go back to what it needs.
 */
export class Progress {
  mode: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** The highest index known to be durable there. */
  match = 0
  /** A probe was sent and neither answered nor timed out. */
  probeInFlight = false
  /** Something was acknowledged since this was last set to false. */
  acknowledgedSinceRetry = false
  /**
   * It was asked by the clock whether it is there, and its answer may show that something was lost. Rounds for reads ask as well, but so
   * often that what is still on its way would be sent again.
   */
  retryDue = false
  /** It answered since the leader last counted who does (see checkQuorum). Who is new gets the time to answer. */
  active = true
  /** It did so in the time before. */
  private wasRecentlyActive = false
  /** What it needs next cannot be read from the log now. The next heartbeat asks the log again. */
  unreadable = false
  /** As it last said; undefined until then. */
  room: RaftRoom | undefined
  /** In `snapshot`. */
  outgoingSnapshot: OutgoingSnapshot | undefined
  private inflight: { last: number; bytes: number }[] = []
  private inflightBytes = 0

  /** `next` is the first entry to send. */
  constructor(public next: number) {}

  /** Not silent for as long as an election timeout. */
  get recentlyActive(): boolean {
    return this.active || this.wasRecentlyActive
  }

  /** The leader counts who answers from here on. */
  beginActivityWindow(): void {
    this.wasRecentlyActive = this.active
    this.active = false
  }

  canSend(maxMessages: number, maxBytes: number): boolean {
    if (this.mode === 'snapshot' || this.unreadable) return false
    if (this.mode === 'probe') return !this.probeInFlight
    return this.inflight.length < maxMessages && this.inflightBytes < maxBytes
  }

  /** An append with entries up to `last` has left. */
  sent(last: number, bytes: number): void {
    if (this.mode === 'probe') {
      this.probeInFlight = true
      return
    }
    this.next = last + 1
    this.inflight.push({ last, bytes })
    this.inflightBytes += bytes
  }

  /** Everything up to `index` is durable there. True when that is news. */
  accepted(index: number): boolean {
    const news = index > this.match
    this.acknowledgedSinceRetry = true
    this.match = Math.max(this.match, index)
    if (this.mode === 'snapshot') {
      // An acknowledgement from before says nothing about the snapshot.
      if (index >= this.outgoingSnapshot!.snapshot.index) this.becomeReplicate()
      return news
    }
    if (this.mode === 'probe') {
      // An append with entries that was stored brings news. No news is a late answer, or one of a follower that stores
      // nothing now: were it enough to pipeline again, late answers would bring appends, and those answers, without end.
      if (!news) return false
      this.becomeReplicate()
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
   * overtaken. `match` never goes back here, because what it counts is durable.
   */
  rejected(index: number, hint: number): boolean {
    if (this.mode === 'snapshot') return false
    if (this.mode === 'replicate') {
      if (index <= this.match) return false
      this.becomeProbe()
      return true
    }
    if (this.next - 1 !== index) return false
    // Who refuses what it has acknowledged has lost its log. It gets nothing from this leader; asked at once, it would refuse for ever.
    if (index === this.match) return false
    this.next = Math.max(Math.min(index, hint + 1), this.match + 1)
    this.probeInFlight = false
    return true
  }

  /**
   * The append after `index` did not match at one who counts for nothing, though `match` says that it would. Then it has joined anew
   * under an old name, and an answer from its former life came late: what `match` counts is gone.
   */
  forgetAbove(index: number, hint: number): void {
    if (index === this.match) this.match = Math.min(this.match, hint)
  }

  /** What was sent since the last acknowledgement did not arrive. */
  becomeProbe(): void {
    this.become('probe')
    this.next = this.match + 1
  }

  /** Appends wait until the snapshot is there. */
  becomeSnapshot(snapshot: SnapshotMeta): void {
    this.become('snapshot')
    this.outgoingSnapshot = { snapshot, offset: 0, piece: 'none' }
  }

  private becomeReplicate(): void {
    this.become('replicate')
    this.next = this.match + 1
  }

  private become(mode: Progress['mode']): void {
    this.mode = mode
    this.probeInFlight = false
    this.unreadable = false
    this.outgoingSnapshot = undefined
    this.inflight = []
    this.inflightBytes = 0
  }
}
