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
  progress.becomeSnapshot(state.snapshot)
  requestPiece(state, to, progress)
}

function requestPiece(state: CoreState, to: string, { outgoingSnapshot }: Progress): void {
  if (outgoingSnapshot === undefined) return
  outgoingSnapshot.piece = 'reading'
  state.piecesWanted.push({ to, snapshot: outgoingSnapshot.snapshot, offset: outgoingSnapshot.offset })
}

export function pieceRead(
  state: CoreState,
  { to, snapshot, offset }: PieceWanted,
  piece: { data: Uint8Array; crc: number; done: boolean } | undefined
): void {
  const progress = state.progress.get(to)
  const outgoingSnapshot = progress?.outgoingSnapshot
  if (
    outgoingSnapshot?.snapshot !== snapshot ||
    outgoingSnapshot.offset !== offset ||
    outgoingSnapshot.piece !== 'reading'
  )
    return
  if (piece === undefined) {
    // A newer one has taken its place. If there is none yet, the next heartbeat's answer asks again.
    outgoingSnapshot.piece = 'none'
    outgoingSnapshot.offset = 0
    if (state.snapshot !== snapshot) beginSnapshot(state, to, progress!)
    return
  }
  outgoingSnapshot.piece = 'sent'
  progress!.acknowledgedSinceRetry = true
  state.send(to, { type: 'snapshot', term: state.term, snapshot, offset, ...piece })
}

export function handleSnapshotReply(state: CoreState, from: string, message: RaftMessageOf<'snapshotReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined) return
  progress.active = true
  const { outgoingSnapshot } = progress
  if (outgoingSnapshot?.snapshot.index !== message.index) return
  progress.acknowledgedSinceRetry = true
  if (message.refused) {
    // It may be damaged here or there: begin again, with the newest, when the follower is heard of next.
    progress.becomeSnapshot(state.snapshot!)
  } else if (message.offset !== outgoingSnapshot.offset) {
    outgoingSnapshot.offset = message.offset
    requestPiece(state, from, progress)
  }
}

/** The follower is there, but nothing was heard of the piece for a while. */
export function resendPiece(state: CoreState, to: string, progress: Progress): void {
  if (progress.outgoingSnapshot?.piece !== 'reading') requestPiece(state, to, progress)
}
