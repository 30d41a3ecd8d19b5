/**
 * The snapshots of a page store, which peers send each other as the snapshots of Raft.
 *
 * Each checkpoint is a snapshot: a transfer opens a view of the backend, which stays the same while further entries are
 * applied. A view holds back the space that later checkpoints free, and the log keeps the entries after its index. So a
 * transfer that is idle, too old, or too expensive ends, and the follower starts over with the newest checkpoint.
 *
 * A received snapshot goes into incoming rows, which take the place of the rows in use when all pieces are there
 * (docs/storage.md, Snapshots).
 */
import { CorruptionError, NoSpaceError, type Clock, type RaftSnapshot } from '@quire/protocol'
import type { SnapshotStore } from '@quire/raft'
import type { Applier } from './applier.js'
import type { BackendStorage } from './backend.js'
import type { SnapshotPiece, SnapshotReader } from './snapshot-pieces.js'
import { SnapshotWriter } from './snapshot-writer.js'

export interface SnapshotLimits {
  /** Followers that are sent a snapshot at once, at most MAX_SENT_SNAPSHOTS. Others wait. */
  readonly maxTransfers: number
  /** A transfer ends when the follower has wanted no piece for this long. */
  readonly maxIdleMs: number
  readonly maxAgeMs: number
  /**
   * A transfer ends when the file of the pages has grown since it began, and has this much more than the rows should
   * take ({@link FILE_PER_USED}).
   */
  readonly maxUnusedBytes: number
  /** A transfer ends when the log holds back this much for its follower. */
  readonly maxLogBytes: number
  /** Rate at which this peer sends snapshots to all followers together. */
  readonly bytesPerSecond: number
  /** A received snapshot that finds no space is written again after this pause. */
  readonly retryMs: number
}

/** Free gaps between pages, which are too short for others, may take this part of a file (docs/storage.md, Bounds). */
const FILE_PER_USED = 1.15

/** A piece takes four seconds at this rate. A slower transfer would rarely end before its time is up. */
export const MIN_SNAPSHOT_BYTES_PER_SECOND = 64 * 1024

export const DEFAULT_SNAPSHOT_LIMITS: SnapshotLimits = {
  maxTransfers: 2,
  maxIdleMs: 60_000,
  maxAgeMs: 3_600_000,
  maxUnusedBytes: 1024 ** 3,
  maxLogBytes: 1024 ** 3,
  bytesPerSecond: 64 * 1024 * 1024,
  retryMs: 1_000
}

export interface SnapshotsInit {
  readonly storage: BackendStorage
  readonly applier: Applier
  readonly clock: Clock
  /** See RaftLog.indexBefore. */
  readonly indexBefore: (bytes: number) => number
  /** The last entry that a follower is known to have on its disk; undefined if this peer does not lead it. */
  readonly matchIndex: (follower: string) => number | undefined
  /** The snapshot that is the state at the start, if any entry is applied. */
  readonly newest: RaftSnapshot | undefined
  readonly limits?: Partial<SnapshotLimits> | undefined
  /** With an error, a received snapshot finds no space; with undefined, it does again. */
  readonly onFault: (fault: NoSpaceError | undefined) => void
  /** A snapshot has become the state. */
  readonly onInstalled: (snapshot: RaftSnapshot, receipt: Receipt) => void
  /** A received snapshot is damaged. The leader starts over. */
  readonly onRefused?: ((snapshot: RaftSnapshot, error: CorruptionError) => void) | undefined
  readonly onTransferBegun?: ((transfer: BegunTransfer) => void) | undefined
  readonly onTransferEnded?: ((transfer: EndedTransfer) => void) | undefined
  /** The log may drop entries that it kept for a follower ({@link Snapshots.heldIndex}). */
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

/** How a snapshot arrived. */
export interface Receipt {
  readonly receivedBytes: number
  /** From the first piece to the installation. */
  readonly durationMs: number
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

/** A snapshot that arrives. Its whole size is unknown. */
export interface ReceivedSnapshot {
  readonly index: number
  readonly receivedBytes: number
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

interface Incoming {
  readonly writer: SnapshotWriter
  readonly begunAtMs: number
  damage?: CorruptionError
}

const SWEEP_MS = 1_000

/** Sends and receives the snapshots of one page store. */
export class Snapshots implements SnapshotStore {
  readonly newest: RaftSnapshot | undefined
  private readonly limits: SnapshotLimits
  /** By follower. */
  private readonly transfers = new Map<string, Transfer>()
  private incoming: Incoming | undefined
  /** When the next piece may leave. */
  private paceMs = 0
  private cancelSweep: (() => void) | undefined
  private readonly endPauses = new Set<() => void>()
  private isClosed = false
  /** How often all transfers were ended. A piece that waits for its turn begins none afterwards. */
  private ends = 0

  constructor(private readonly init: SnapshotsInit) {
    this.newest = init.newest
    this.limits = { ...DEFAULT_SNAPSHOT_LIMITS, ...init.limits }
  }

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

  /** Undefined if there is none, or if entries have made it useless. */
  get receiving(): ReceivedSnapshot | undefined {
    const writer = this.incoming?.writer
    if (writer === undefined || writer.snapshot.index <= this.init.applier.appliedIndex) return undefined
    return { index: writer.snapshot.index, receivedBytes: writer.bytes }
  }

  private get running(): [string, Transfer][] {
    return [...this.transfers].filter(([, { last }]) => !last.done)
  }

  // -- sending

  async read(to: string, index: number, offset: number, maxBytes: number): Promise<SnapshotPiece | undefined> {
    const now = this.init.clock.now()
    const { ends } = this
    if (this.paceMs > now) await this.pause(this.paceMs - now)
    if (this.isClosed || this.ends > ends) return undefined
    const piece = this.nextPiece(to, index, offset, maxBytes)
    if (piece === undefined) return undefined
    const { clock } = this.init
    this.paceMs = Math.max(this.paceMs, clock.now()) + (piece.data.length / this.limits.bytesPerSecond) * 1_000
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
    transfer.last = { ...reader.read(maxBytes), offset }
    if (transfer.last.done) this.complete(to, transfer)
    return transfer.last
  }

  /** Returns undefined if the state at `index` is gone or about to be, or too many followers receive snapshots. */
  private begin(to: string, index: number, maxBytes: number): Transfer | undefined {
    const { applier, clock } = this.init
    const usage = applier.usage()
    if (usage === undefined || this.running.length >= this.limits.maxTransfers) return undefined
    const reader = applier.openSnapshot()
    if (reader.index !== index) {
      reader.close()
      return undefined
    }
    const { fileBytes, usedBytes: totalBytes } = usage
    const now = clock.now()
    const last = { ...reader.read(maxBytes), offset: 0 }
    const transfer = { reader, last, totalBytes, fileBytes, heldIndex: index, openedAtMs: now, usedAtMs: now }
    this.transfers.set(to, transfer)
    this.init.onTransferBegun?.({ to, index, totalBytes })
    if (last.done) this.complete(to, transfer)
    this.cancelSweep ??= clock.schedule(SWEEP_MS, () => this.sweep())
    return transfer
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
  endTransfers(reason: string): void {
    this.ends++
    for (const to of [...this.transfers.keys()]) this.end(to, reason)
  }

  private sweep(): void {
    this.cancelSweep = undefined
    const held = this.heldIndex
    for (const [to, transfer] of this.transfers) {
      if (transfer.last.done) this.follow(to, transfer)
      const reason = this.reasonToEnd(transfer)
      if (reason !== undefined) this.end(to, reason)
    }
    if (this.heldIndex !== held) this.init.onReleased()
    if (this.transfers.size > 0) this.cancelSweep = this.init.clock.schedule(SWEEP_MS, () => this.sweep())
  }

  /** Lets go of the entries that the follower has, and of all when it needs none that the log would drop now. */
  private follow(to: string, transfer: Transfer): void {
    const { applier, clock, matchIndex } = this.init
    const match = matchIndex(to) ?? 0
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
  private reasonToEnd({ openedAtMs, usedAtMs, fileBytes, heldIndex }: Transfer): string | undefined {
    const { applier, clock, indexBefore } = this.init
    const { maxIdleMs, maxAgeMs, maxUnusedBytes, maxLogBytes } = this.limits
    const usage = applier.usage()!
    const now = clock.now()
    if (now - usedAtMs >= maxIdleMs) return 'the follower asks for nothing'
    if (now - openedAtMs >= maxAgeMs) return 'it takes too long'
    const unusedBytes = usage.fileBytes - FILE_PER_USED * usage.usedBytes
    // A file that has not grown may be large because there were more pages once.
    if (usage.fileBytes > fileBytes && unusedBytes > maxUnusedBytes) return 'the file of the pages grows too much'
    if (heldIndex < indexBefore(maxLogBytes)) return 'the log grows too much'
    return undefined
  }

  // -- receiving

  async write(snapshot: RaftSnapshot, offset: number, data: Uint8Array): Promise<void> {
    if (offset === 0) await this.beginIncoming(snapshot)
    const { incoming } = this
    if (incoming === undefined || incoming.damage !== undefined) return
    const { writer } = incoming
    try {
      writer.add(data)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      incoming.damage = error
      return
    }
    if (writer.isFull) await this.withRoom(() => writer.flush())
  }

  async install(snapshot: RaftSnapshot): Promise<void> {
    const { storage, applier, clock, onInstalled } = this.init
    const { writer, begunAtMs } = this.completeIncoming(snapshot)
    await this.withRoom(() => writer.flush())
    if (this.isClosed) return
    await this.endIncoming()
    // Their views end with the backend.
    this.endTransfers('this peer receives a snapshot')
    await applier.replace(async () => {
      await storage.adoptIncoming()
      return storage.open()
    })
    onInstalled(snapshot, { receivedBytes: writer.bytes, durationMs: Math.round(clock.now() - begunAtMs) })
  }

  /** Throws CorruptionError unless all pieces of the snapshot are there. */
  private completeIncoming(snapshot: RaftSnapshot): Incoming {
    const { incoming } = this
    try {
      if (incoming?.damage !== undefined) throw incoming.damage
      if (incoming?.writer.snapshot.index !== snapshot.index) {
        throw new CorruptionError(`snapshot ${snapshot.index}`, undefined, 'its pieces are gone')
      }
      incoming.writer.complete()
      return incoming
    } catch (error) {
      if (error instanceof CorruptionError) this.init.onRefused?.(snapshot, error)
      throw error
    }
  }

  private async beginIncoming(snapshot: RaftSnapshot): Promise<void> {
    await this.endIncoming()
    const { storage, clock } = this.init
    await this.withRoom(() => {
      this.incoming = { writer: new SnapshotWriter(storage.openIncoming(), snapshot), begunAtMs: clock.now() }
      return Promise.resolve()
    })
  }

  private async endIncoming(): Promise<void> {
    const { incoming } = this
    this.incoming = undefined
    await incoming?.writer.close()
  }

  /** Repeats `work` while it finds no space, until this store is closed. */
  private async withRoom(work: () => Promise<void>): Promise<void> {
    let isFull = false
    for (;;) {
      if (this.isClosed) return
      try {
        await work()
        if (isFull) this.init.onFault(undefined)
        return
      } catch (error) {
        if (!(error instanceof NoSpaceError)) throw error
        if (!isFull) this.init.onFault(error)
        isFull = true
      }
      await this.pause(this.limits.retryMs)
    }
  }

  // -- end

  /**
   * Ends all transfers. Calls that wait come to an end without effect. A snapshot that is being written stays until
   * `close`.
   */
  stop(): void {
    this.isClosed = true
    this.cancelSweep?.()
    this.endTransfers('this peer stops')
    for (const end of [...this.endPauses]) end()
  }

  /** Closes the incoming rows. Call it after `stop`, when all calls have settled. */
  async close(): Promise<void> {
    this.stop()
    await this.endIncoming()
  }

  private pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        this.endPauses.delete(end)
        cancel()
        resolve()
      }
      const cancel = this.init.clock.schedule(durationMs, end)
      this.endPauses.add(end)
    })
  }
}

function sentBytesOf({ last }: Transfer): number {
  return last.offset + last.data.length
}
