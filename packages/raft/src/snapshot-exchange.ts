import { crc32c } from '@node-rs/crc32'
import { CorruptionError } from '@quire/protocol'
import type { PieceReceived, PieceWanted, RaftCore, Ready, SnapshotMeta } from './core/types.js'
import type { SnapshotStore } from './node-types.js'

export interface SnapshotExchangeInit {
  readonly core: RaftCore
  readonly store: SnapshotStore | undefined
  readonly maxPieceBytes: number
  /** Calls `then` when `work` is done. A rejection ends the node. */
  readonly whileBusy: <T>(work: Promise<T>, then: (result: T) => void) => void
}

/** Moves snapshots between a core and the application's store. */
export class SnapshotExchange {
  constructor(private readonly init: SnapshotExchangeInit) {}

  handle({ piecesWanted, pieceReceived, install }: Ready): void {
    const { store } = this.init
    for (const wanted of piecesWanted) this.readPiece(wanted)
    if (store === undefined) return
    if (pieceReceived !== undefined) this.storePiece(store, pieceReceived)
    if (install !== undefined) this.install(store, install)
  }

  /** Without a store, the core learns that the snapshot is gone. */
  private readPiece(wanted: PieceWanted): void {
    const { core, store, maxPieceBytes, whileBusy } = this.init
    const { to, snapshot, offset } = wanted
    whileBusy(store?.read(to, snapshot.index, offset, maxPieceBytes) ?? Promise.resolve(undefined), (piece) => {
      core.pieceRead(wanted, piece === undefined ? undefined : { ...piece, crc: crc32c(piece.data) })
    })
  }

  private storePiece(store: SnapshotStore, piece: PieceReceived): void {
    const { core, whileBusy } = this.init
    whileBusy(store.write(piece.snapshot, piece.offset, piece.data), () => core.pieceStored(piece))
  }

  private install(store: SnapshotStore, snapshot: SnapshotMeta): void {
    const { core, whileBusy } = this.init
    const installing = store.install(snapshot).then(
      () => true,
      (error: unknown) => {
        if (error instanceof CorruptionError) return false
        throw error
      }
    )
    whileBusy(installing, (isInstalled) => {
      if (isInstalled) core.snapshotInstalled(snapshot)
      else core.snapshotRefused(snapshot)
    })
  }
}
