/**
 * Receives snapshots from the leader. One goes into incoming rows, which take the place of the rows in use when all
 * pieces are there.
 */
import { CorruptionError, NoSpaceError, type Clock, type RaftSnapshot } from '@quire/protocol'
import type { Applier } from './applier-types.js'
import type { BackendStorage } from './backend.js'
import { Pauses } from './pauses.js'
import { SnapshotWriter } from './snapshot-writer.js'

export interface SnapshotReceiverInit {
  readonly storage: BackendStorage
  readonly applier: Applier
  readonly clock: Clock
  /** A snapshot that finds no space is written again after this pause. */
  readonly retryMs: number
  /** The backend is about to end, and all views with it. */
  readonly beforeAdoption: () => void
  /** With an error, a received snapshot finds no space; with undefined, it does again. */
  readonly onFault: (fault: NoSpaceError | undefined) => void
  /** A snapshot has become the state. */
  readonly onInstalled: (snapshot: RaftSnapshot, receipt: Receipt) => void
  /** A received snapshot is damaged. The leader starts over. */
  readonly onRefused?: ((snapshot: RaftSnapshot, error: CorruptionError) => void) | undefined
}

/** How a snapshot arrived. */
export interface Receipt {
  readonly receivedBytes: number
  /** From the first piece to the installation. */
  readonly durationMs: number
}

/** A snapshot that arrives. Its whole size is unknown. */
export interface ReceivedSnapshot {
  readonly index: number
  readonly receivedBytes: number
}

interface Incoming {
  readonly writer: SnapshotWriter
  readonly begunAtMs: number
  damage?: CorruptionError
}

/** The snapshot that one peer receives. */
export class SnapshotReceiver {
  private incoming: Incoming | undefined
  private readonly pauses: Pauses
  private isStopped = false

  constructor(private readonly init: SnapshotReceiverInit) {
    this.pauses = new Pauses(init.clock)
  }

  /** Undefined if there is none, or if entries have made it useless. */
  get receiving(): ReceivedSnapshot | undefined {
    const writer = this.incoming?.writer
    if (writer === undefined || writer.snapshot.index <= this.init.applier.appliedIndex) return undefined
    return { index: writer.snapshot.index, receivedBytes: writer.bytes }
  }

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
    const { storage, applier, clock, beforeAdoption, onInstalled } = this.init
    const { writer, begunAtMs } = this.completeIncoming(snapshot)
    await this.withRoom(() => writer.flush())
    if (this.isStopped) return
    await this.endIncoming()
    beforeAdoption()
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
      if (this.isStopped) return
      try {
        await work()
        if (isFull) this.init.onFault(undefined)
        return
      } catch (error) {
        if (!(error instanceof NoSpaceError)) throw error
        if (!isFull) this.init.onFault(error)
        isFull = true
      }
      await this.pauses.wait(this.init.retryMs)
    }
  }

  /** Calls that wait come to an end without effect. A snapshot that is being written stays until `close`. */
  stop(): void {
    this.isStopped = true
    this.pauses.end()
  }

  /** Closes the incoming rows. Call it after `stop`, when all calls have settled. */
  async close(): Promise<void> {
    this.stop()
    await this.endIncoming()
  }
}
