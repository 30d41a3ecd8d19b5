/**
 * Snapshots, the leader's half (§7, Figure 13). One piece at a time: it is read, sent, and followed by the next when the follower has stored it.
 * What is lost is sent again when the follower is heard of, so that nothing is spent on one that is dead.
 */
import type { RaftMessageOf } from '@quire/protocol'
import type { Progress } from './progress.js'
import type { CoreState } from './state.js'
import type { PieceWanted } from './types.js'

/** The log does not go back to what this follower needs. */
export function beginSnapshot(state: CoreState, to: string, progress: Progress): void {
  // Only what is in a snapshot is dropped from the log. One that says nothing would not get it.
  if (state.snapshot === undefined || !progress.active) return
  progress.beginSnapshot(state.snapshot)
  wantPiece(state, to, progress)
}

function wantPiece(state: CoreState, to: string, { transfer }: Progress): void {
  if (transfer === undefined) return
  transfer.piece = 'reading'
  state.piecesWanted.push({ to, snapshot: transfer.snapshot, offset: transfer.offset })
}

export function pieceRead(
  state: CoreState,
  { to, snapshot, offset }: PieceWanted,
  piece: { data: Uint8Array; crc: number; done: boolean } | undefined
): void {
  const progress = state.progress.get(to)
  const transfer = progress?.transfer
  if (transfer?.snapshot !== snapshot || transfer.offset !== offset || transfer.piece !== 'reading') return
  if (piece === undefined) {
    // A newer one has taken its place. If there is none yet, the next heartbeat's answer asks again.
    transfer.piece = 'none'
    transfer.offset = 0
    if (state.snapshot !== snapshot) beginSnapshot(state, to, progress!)
    return
  }
  transfer.piece = 'sent'
  progress!.heardOf = true
  state.send(to, { type: 'snapshot', term: state.term, snapshot, offset, ...piece })
}

export function handleSnapshotReply(state: CoreState, from: string, message: RaftMessageOf<'snapshotReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined) return
  progress.active = true
  const { transfer } = progress
  if (transfer?.snapshot.index !== message.index) return
  progress.heardOf = true
  if (message.refused) {
    // It may be damaged here or there: begin again, with the newest, when the follower is heard of next.
    progress.beginSnapshot(state.snapshot!)
  } else if (message.offset !== transfer.offset) {
    transfer.offset = message.offset
    wantPiece(state, from, progress)
  }
}

/** The follower is there, but nothing was heard of the piece for a while. */
export function repeatPiece(state: CoreState, to: string, progress: Progress): void {
  if (progress.transfer?.piece !== 'reading') wantPiece(state, to, progress)
}
