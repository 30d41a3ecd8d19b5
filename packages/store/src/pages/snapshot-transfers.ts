/**
 * Sends snapshots to followers.
 *
 * Each checkpoint is a snapshot: a transfer opens a view of the backend, which stays the same while further entries are
 * applied. A view holds back the space that later checkpoints free, and the log keeps the entries after its index. So a
 * transfer that is idle, too old, or too expensive ends, and the follower starts over with the newest checkpoint.
 */
import type { Clock } from '@quire/protocol'
import { DamagedPageError } from '../state/index.js'
import type { Applier } from './applier-types.js'
import { Pauses } from './pauses.js'
import { growsTooMuch, type SnapshotLimits } from './snapshot-limits.js'
import type { SnapshotPiece, SnapshotReader } from './snapshot-pieces.js'

export interface SnapshotTransfersInit {
  readonly applier: Applier
  readonly clock: Clock
  readonly limits: SnapshotLimits
  /** See RaftLog.indexBefore. */
  readonly indexBefore: (bytes: number) => number
  /** The last entry that a follower is known to have on its disk; undefined if this peer has no such follower. */
  readonly matchIndex: (follower: string) => number | undefined
  readonly onTransferBegun?: ((transfer: BegunTransfer) => void) | undefined
  readonly onTransferEnded?: ((transfer: EndedTransfer) => void) | undefined
  /** The snapshot has a damaged page, which the caller has to repair. */
  readonly onDamagedPage?: ((file: number, page: number) => void) | undefined
  /** The log may drop entries that it kept for a follower ({@link SnapshotTransfers.heldIndex}). */
  readonly onReleased: () => void
}

export interface BegunTransfer {
  /** Id of the follower's Raft node. */
  readonly to: string
  readonly index: number
  /** Estimate of the whole. */
  readonly totalBytes: number
}

export interface EndedTransfer {
  /** Id of the follower's Raft node. */
  readonly to: string
  readonly index: number
  readonly sentBytes: number
  readonly durationMs: number
  /** Why the transfer ended too soon; undefined if all pieces have left. */
  readonly reason: string | undefined
}

/** A snapshot on its way to a follower. */
export interface SentSnapshot {
  /** Id of the follower's Raft node. */
  readonly to: string
  /** Index of the last log entry that the snapshot holds. */
  readonly index: number
  readonly sentBytes: number
  /** Estimate of the whole. */
  readonly totalBytes: number
}

interface Transfer {
  readonly reader: SnapshotReader
  /** The piece that was read last, which the follower may want again. */
  last: SnapshotPiece & { readonly offset: number }
  readonly totalBytes: number
  readonly openedAtMs: number
  /** When the follower last asked for a piece, or last acknowledged entries that follow the snapshot. */
  usedAtMs: number
  /** The log keeps the entries after this one. */
  heldIndex: number
  readonly fileBytes: number
}

/** The time for a damaged page to be repaired, and to be part of a checkpoint. */
const REPAIR_MS = 5_000
const SWEEP_MS = 1_000

/** The snapshots that one peer sends. */
export class SnapshotTransfers {
  /** By follower. */
  private readonly transfers = new Map<string, Transfer>()
  /** When the next piece may leave. */
  private paceMs = 0
  /** Until then, no transfer begins: it would meet the same damaged page. */
  private repairsUntilMs = 0
  private cancelSweep: (() => void) | undefined
  private readonly pauses: Pauses
  private isStopped = false
  /** How often all transfers were ended. A piece that waits for its turn begins none afterwards. */
  private ends = 0

  constructor(private readonly init: SnapshotTransfersInit) {
    this.pauses = new Pauses(init.clock)
  }

  /** The log keeps the entries after this one, which followers still need. Undefined if none needs any. */
  get heldIndex(): number | undefined {
    if (this.transfers.size === 0) return undefined
    return Math.min(...[...this.transfers.values()].map(({ heldIndex }) => heldIndex))
  }

  /** Without those that have been sent to the end. */
  get sending(): SentSnapshot[] {
    return this.running.map(([to, transfer]) => {
      const sentBytes = sentBytesOf(transfer)
      return { to, index: transfer.reader.index, sentBytes, totalBytes: Math.max(transfer.totalBytes, sentBytes) }
    })
  }

  private get running(): [string, Transfer][] {
    return [...this.transfers].filter(([, { last }]) => !last.done)
  }

  async read(to: string, index: number, offset: number, maxBytes: number): Promise<SnapshotPiece | undefined> {
    const now = this.init.clock.now()
    const { ends } = this
    if (this.paceMs > now) await this.pauses.wait(this.paceMs - now)
    if (this.isStopped || this.ends > ends) return undefined
    const piece = this.nextPiece(to, index, offset, maxBytes)
    if (piece === undefined) return undefined
    const { clock } = this.init
    this.paceMs = Math.max(this.paceMs, clock.now()) + (piece.data.length / this.init.limits.bytesPerSecond) * 1_000
    return piece
  }

  private nextPiece(to: string, index: number, offset: number, maxBytes: number): SnapshotPiece | undefined {
    let transfer = this.transfers.get(to)
    if (offset === 0 && (transfer?.reader.index !== index || transfer.last.offset > 0)) {
      this.end(to, 'the follower starts over')
      transfer = this.begin(to, index, maxBytes)
    }
    if (transfer?.reader.index !== index) return undefined
    transfer.usedAtMs = this.init.clock.now()
    const { last, reader } = transfer
    if (offset === last.offset) return last
    if (last.done || offset !== last.offset + last.data.length) return undefined
    const piece = this.readPiece(reader, maxBytes)
    if (piece === undefined) {
      this.end(to, 'a page is damaged')
      return undefined
    }
    transfer.last = { ...piece, offset }
    if (transfer.last.done) this.complete(to, transfer)
    return transfer.last
  }

  /** Returns undefined if the state at `index` is gone or about to be, or too many followers receive snapshots. */
  private begin(to: string, index: number, maxBytes: number): Transfer | undefined {
    const { applier, clock } = this.init
    const usage = applier.usage()
    if (usage === undefined || this.running.length >= this.init.limits.maxTransfers) return undefined
    if (clock.now() < this.repairsUntilMs) return undefined
    const reader = applier.openSnapshot()
    if (reader.index !== index) {
      reader.close()
      return undefined
    }
    const { fileBytes, usedBytes: totalBytes } = usage
    const now = clock.now()
    const piece = this.readPiece(reader, maxBytes)
    if (piece === undefined) {
      reader.close()
      return undefined
    }
    const last = { ...piece, offset: 0 }
    const transfer = { reader, last, totalBytes, fileBytes, heldIndex: index, openedAtMs: now, usedAtMs: now }
    this.transfers.set(to, transfer)
    this.init.onTransferBegun?.({ to, index, totalBytes })
    if (last.done) this.complete(to, transfer)
    this.cancelSweep ??= clock.schedule(SWEEP_MS, () => this.sweep())
    return transfer
  }

  /** Returns undefined if a page is damaged. Its copy from another peer is part of the next checkpoint. */
  private readPiece(reader: SnapshotReader, maxBytes: number): SnapshotPiece | undefined {
    try {
      return reader.read(maxBytes)
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      this.repairsUntilMs = this.init.clock.now() + REPAIR_MS
      this.init.onDamagedPage?.(error.file, error.page)
      return undefined
    }
  }

  /**
   * The view is no longer needed, but the log keeps the entries after it, which the follower needs next. If it dropped
   * them when the follower has installed the snapshot, a follower of a busy cluster would need another snapshot, and
   * again another.
   */
  private complete(to: string, transfer: Transfer): void {
    transfer.reader.close()
    this.reportEnd(to, transfer, undefined)
  }

  private end(to: string, reason: string): void {
    const transfer = this.transfers.get(to)
    if (transfer === undefined) return
    transfer.reader.close()
    this.transfers.delete(to)
    if (!transfer.last.done) this.reportEnd(to, transfer, reason)
  }

  private reportEnd(to: string, transfer: Transfer, reason: string | undefined): void {
    const durationMs = Math.round(this.init.clock.now() - transfer.openedAtMs)
    const { index } = transfer.reader
    this.init.onTransferEnded?.({ to, index, sentBytes: sentBytesOf(transfer), durationMs, reason })
  }

  /** Ends the transfers of a peer that no longer leads, or stops altogether. A new leader starts over. */
  endAll(reason: string): void {
    this.ends++
    for (const to of [...this.transfers.keys()]) this.end(to, reason)
  }

  private sweep(): void {
    this.cancelSweep = undefined
    const held = this.heldIndex
    for (const [to, transfer] of this.transfers) {
      const match = this.init.matchIndex(to)
      if (match !== undefined && transfer.last.done) this.follow(to, transfer, match)
      const reason = match === undefined ? 'the follower was removed' : this.reasonToEnd(transfer, match)
      if (reason !== undefined) this.end(to, reason)
    }
    if (this.heldIndex !== held) this.init.onReleased()
    if (this.transfers.size > 0) this.cancelSweep = this.init.clock.schedule(SWEEP_MS, () => this.sweep())
  }

  /** Lets go of the entries that the follower has, and of all when it needs none that the log would drop now. */
  private follow(to: string, transfer: Transfer, match: number): void {
    const { applier, clock } = this.init
    if (match > transfer.heldIndex) {
      transfer.heldIndex = match
      transfer.usedAtMs = clock.now()
    }
    if (match >= applier.durableIndex) this.end(to, 'the follower has caught up')
  }

  /**
   * The limits of sizes hold for the whole file and the whole log, not for their growth: a follower that starts over
   * and over must not let them grow each time.
   */
  private reasonToEnd(transfer: Transfer, match: number): string | undefined {
    const { last, reader, openedAtMs, usedAtMs, fileBytes, totalBytes, heldIndex } = transfer
    const { applier, clock, indexBefore } = this.init
    const { maxIdleMs, maxAgeMs, maxUnusedBytes, maxLogBytes } = this.init.limits
    const usage = applier.usage()!
    const now = clock.now()
    // It has installed the snapshot of an earlier leader, for example.
    if (!last.done && match >= reader.index) return 'the follower needs it no longer'
    if (now - usedAtMs >= maxIdleMs) return 'the follower asks for nothing'
    if (now - openedAtMs >= maxAgeMs) return 'it takes too long'
    if (growsTooMuch(usage, fileBytes, maxUnusedBytes)) return 'the file of the pages grows too much'
    // A slow transfer of a large snapshot would be as slow the next time.
    if (heldIndex < indexBefore(Math.max(maxLogBytes, totalBytes))) return 'the log grows too much'
    return undefined
  }

  /** Ends all transfers. Calls that wait come to an end without effect. */
  stop(): void {
    this.isStopped = true
    this.cancelSweep?.()
    this.endAll('this peer stops')
    this.pauses.end()
  }
}

function sentBytesOf({ last }: Transfer): number {
  return last.offset + last.data.length
}
