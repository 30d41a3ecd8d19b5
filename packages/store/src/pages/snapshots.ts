/** The snapshots of a page store, which peers send each other as the snapshots of Raft (docs/storage.md, Snapshots). */
import type { RaftSnapshot } from '@quire/protocol'
import type { SnapshotStore } from '@quire/raft'
import { DEFAULT_SNAPSHOT_LIMITS, type SnapshotLimits } from './snapshot-limits.js'
import type { SnapshotPiece } from './snapshot-pieces.js'
import { SnapshotReceiver, type ReceivedSnapshot, type SnapshotReceiverInit } from './snapshot-receiver.js'
import { SnapshotTransfers, type SentSnapshot, type SnapshotTransfersInit } from './snapshot-transfers.js'

export interface SnapshotsInit
  extends Omit<SnapshotTransfersInit, 'limits'>, Omit<SnapshotReceiverInit, 'retryMs' | 'beforeAdoption'> {
  /** The snapshot that is the state at the start, if any entry is applied. */
  readonly newest: RaftSnapshot | undefined
  readonly limits?: Partial<SnapshotLimits> | undefined
}

/** Sends and receives the snapshots of one page store. */
export class Snapshots implements SnapshotStore {
  readonly newest: RaftSnapshot | undefined
  private readonly transfers: SnapshotTransfers
  private readonly receiver: SnapshotReceiver

  constructor({ newest, limits: given, ...init }: SnapshotsInit) {
    const limits = { ...DEFAULT_SNAPSHOT_LIMITS, ...given }
    this.newest = newest
    this.transfers = new SnapshotTransfers({ ...init, limits })
    this.receiver = new SnapshotReceiver({
      ...init,
      retryMs: limits.retryMs,
      beforeAdoption: () => this.transfers.endAll('this peer receives a snapshot')
    })
  }

  get heldIndex(): number | undefined {
    return this.transfers.heldIndex
  }

  /** Without those that have been sent to the end. */
  get sending(): SentSnapshot[] {
    return this.transfers.sending
  }

  /** Undefined if there is none, or if entries have made it useless. */
  get receiving(): ReceivedSnapshot | undefined {
    return this.receiver.receiving
  }

  read(to: string, index: number, offset: number, maxBytes: number): Promise<SnapshotPiece | undefined> {
    return this.transfers.read(to, index, offset, maxBytes)
  }

  write(snapshot: RaftSnapshot, offset: number, data: Uint8Array): Promise<void> {
    return this.receiver.write(snapshot, offset, data)
  }

  install(snapshot: RaftSnapshot): Promise<void> {
    return this.receiver.install(snapshot)
  }

  /** Ends the transfers of a peer that no longer leads. A new leader starts over. */
  endTransfers(reason: string): void {
    this.transfers.endAll(reason)
  }

  /**
   * Ends all transfers. Calls that wait come to an end without effect. A snapshot that is being written stays until
   * `close`.
   */
  stop(): void {
    this.transfers.stop()
    this.receiver.stop()
  }

  /** Closes the incoming rows. Call it after `stop`, when all calls have settled. */
  async close(): Promise<void> {
    this.stop()
    await this.receiver.close()
  }
}
