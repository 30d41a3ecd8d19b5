/**
 * Snapshots, the leader's half (§7, Figure 13). The leader reads and sends one piece at a time, and the next when the
 * follower has stored it. It repeats a lost piece only when it hears from the follower, so that it spends nothing on a
 * dead one.
 */
import type { RaftMessageOf } from '@quire/protocol'
import type { Progress } from './progress.js'
import type { CoreState } from './state.js'
import type { PieceWanted } from './types.js'

/** Called when the log does not reach back to the entries that this follower needs. */
export function beginSnapshot(state: CoreState, to: string, progress: Progress): void {
  // Compaction drops only entries that a snapshot holds. A silent follower would not receive it.
  if (state.snapshot === undefined || !progress.active) return
  progress.becomeSnapshot(state.snapshot)
  requestPiece(state, to, progress)
}

/** Asks the driver to read the piece at the current offset. */
function requestPiece(state: CoreState, to: string, { outgoingSnapshot }: Progress): void {
  if (outgoingSnapshot === undefined) return
  outgoingSnapshot.piece = 'reading'
  state.piecesWanted.push({ to, snapshot: outgoingSnapshot.snapshot, offset: outgoingSnapshot.offset })
}

/** Called when a piece was read; `piece` is undefined if its snapshot is gone. */
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
    // A newer snapshot has replaced it. If none exists yet, the follower's next answer to a heartbeat tries again.
    outgoingSnapshot.piece = 'none'
    outgoingSnapshot.offset = 0
    if (state.snapshot !== snapshot) beginSnapshot(state, to, progress!)
    return
  }
  outgoingSnapshot.piece = 'sent'
  progress!.progressedSinceHeartbeat = true
  state.send(to, { type: 'snapshot', term: state.term, snapshot, offset, ...piece })
}

/** InstallSnapshot, sender (§7). The reply names the piece that the follower needs next. */
export function handleSnapshotReply(state: CoreState, from: string, message: RaftMessageOf<'snapshotReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined) return
  progress.answered()
  const { outgoingSnapshot } = progress
  if (outgoingSnapshot?.snapshot.index !== message.index) return
  progress.progressedSinceHeartbeat = true
  if (message.refused) {
    // The snapshot may be damaged on either side. Begin again with the newest one, when the follower answers next.
    progress.becomeSnapshot(state.snapshot!)
  } else if (message.offset !== outgoingSnapshot.offset) {
    outgoingSnapshot.offset = message.offset
    requestPiece(state, from, progress)
  }
}

/** Called when the follower answers, but has not acknowledged the piece for a while. */
export function resendPiece(state: CoreState, to: string, progress: Progress): void {
  if (progress.outgoingSnapshot?.piece !== 'reading') requestPiece(state, to, progress)
}
