import type { RaftRoom } from '@quire/protocol'
import { PendingBytes } from './pending-bytes.js'
import type { SnapshotMeta } from './types.js'

/** A snapshot on its way to a follower, piece by piece. */
export interface OutgoingSnapshot {
  readonly snapshot: SnapshotMeta
  /** The follower has stored every byte below this offset. */
  offset: number
  /** State of the piece at `offset`: not requested, being read from the snapshot store, or sent. */
  piece: 'none' | 'reading' | 'sent'
}

/**
 * Tracks what the leader knows of one other node's log.
 *
 * It has one of three modes (etcd's `StateProbe`, `StateReplicate`, `StateSnapshot`):
 * - `probe`: one append at a time looks for the point where the logs match.
 * - `replicate`: appends are pipelined up to the limits, and `next` runs ahead of the acknowledgments.
 * - `snapshot`: the node receives a snapshot, because the log does not reach back to the entries that it needs.
 */
export class Progress {
  mode: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** The highest index known to be durable on the node (Figure 2, matchIndex). */
  match = 0
  /** A probe was sent; it is neither answered nor timed out. */
  probeInFlight = false
  /** The node has acknowledged something, or was sent a piece, since its last answer to a periodic heartbeat. */
  progressedSinceHeartbeat = false
  /**
   * The answer to the next heartbeat may reveal a loss and cause a retry. Periodic heartbeats set this. Heartbeats of
   * read rounds do not: they are so frequent that messages still on their way would be sent again.
   */
  retryDue = false
  /** The node has answered within the current check-quorum period. A new node gets one period to answer. */
  active = true
  /** The node answered within the check-quorum period before. */
  private wasActive = false
  private hasAnswered = false
  /** Storage cannot read the next entries for this node now. The next heartbeat tries again. */
  unreadable = false
  /** The room that the node last reported; undefined until its first report. */
  room: RaftRoom | undefined
  /** Defined in mode `snapshot` only. */
  outgoingSnapshot: OutgoingSnapshot | undefined
  /** Appends that are sent and not acknowledged, in mode `replicate`. */
  private readonly inflights = new PendingBytes()

  /** `next` is the index of the first entry to send (Figure 2, nextIndex). */
  constructor(public next: number) {}

  /** Whether the node has answered within about the last election timeout, or has not had the time to answer. */
  get recentlyActive(): boolean {
    return this.active || this.wasActive
  }

  /** Whether it has answered this leader at all, and within about the last election timeout. */
  get answers(): boolean {
    return this.hasAnswered && this.recentlyActive
  }

  answered(): void {
    this.active = true
    this.hasAnswered = true
  }

  /** Starts a new check-quorum period (thesis §6.2). */
  startQuorumPeriod(): void {
    this.wasActive = this.active
    this.active = false
  }

  canSend(maxMessages: number, maxBytes: number): boolean {
    if (this.mode === 'snapshot' || this.unreadable) return false
    if (this.mode === 'probe') return !this.probeInFlight
    return this.inflights.count < maxMessages && this.inflights.bytes < maxBytes
  }

  /** Called when an append with entries up to `last` was sent. */
  sent(last: number, bytes: number): void {
    if (this.mode === 'probe') {
      this.probeInFlight = true
      return
    }
    this.next = last + 1
    this.inflights.add(last, bytes)
  }

  /** Called when the node acknowledges that everything up to `index` is durable. Returns true if `match` rises. */
  accepted(index: number): boolean {
    const news = index > this.match
    this.progressedSinceHeartbeat = true
    this.match = Math.max(this.match, index)
    if (this.mode === 'snapshot') {
      // A late acknowledgment says nothing about the snapshot.
      if (index >= this.outgoingSnapshot!.snapshot.index) this.becomeReplicate()
      return news
    }
    if (this.mode === 'probe') {
      // Only an append whose entries were stored raises `match`. Otherwise the answer is late, or the follower stores
      // nothing now. If such an answer restarted pipelining, it would cause appends, whose answers would cause more
      // appends, without end.
      if (!news) return false
      this.becomeReplicate()
      return news
    }
    this.next = Math.max(this.next, index + 1)
    this.inflights.releaseUpTo(index)
    return news
  }

  /**
   * Called when the node refuses the append after `index`; the logs may match at `hint`. Returns false if the refusal
   * is late and changes nothing. `match` never falls here, because it counts durable entries.
   */
  rejected(index: number, hint: number): boolean {
    if (this.mode === 'snapshot') return false
    if (this.mode === 'replicate') {
      if (index <= this.match) return false
      this.becomeProbe()
      return true
    }
    if (this.next - 1 !== index) return false
    // A follower that refuses what it has acknowledged has lost its log. It gets nothing from this leader: an immediate
    // retry would be refused forever.
    if (index === this.match) return false
    this.next = Math.max(Math.min(index, hint + 1), this.match + 1)
    this.probeInFlight = false
    return true
  }

  /**
   * Called when a nonvoter refuses the append after `index`. If `match` says that the append should fit,
   * the node has joined again under an old id, and a late answer of its former life has raised `match`: what `match`
   * counts is gone.
   */
  forgetAbove(index: number, hint: number): void {
    if (index === this.match) this.match = Math.min(this.match, hint)
  }

  /** Assumes that everything sent since the last acknowledgment was lost. */
  becomeProbe(): void {
    this.become('probe')
    this.next = this.match + 1
  }

  /** Holds appends back until the node has the snapshot. */
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
    this.inflights.clear()
  }
}
