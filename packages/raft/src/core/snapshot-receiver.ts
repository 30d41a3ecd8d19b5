/**
 * Snapshots, the follower's half (§7, Figure 13). The follower stores pieces in order. When it has all of them, the
 * state machine becomes the snapshot, and only then does the log start after it. The sender is the leader of this
 * node's term, as `step` has checked.
 */
import { assert, type RaftMessageOf } from '@quire/protocol'
import { replyAccepted } from './follower.js'
import type { CoreState } from './state.js'
import type { PieceReceived, SnapshotMeta } from './types.js'

/** InstallSnapshot, receiver (Figure 13). The answer follows when the piece is stored. */
export function handleSnapshot(state: CoreState, from: string, message: RaftMessageOf<'snapshot'>): void {
  const { snapshot, offset, data, done } = message
  const { index, term } = snapshot
  if (index <= state.commit || state.log.matches(index, term)) {
    // The snapshot is stale, or the log holds all of it (Figure 13, step 6). A snapshot holds only committed entries.
    if (index > state.commit) state.commitTo(index)
    replyAccepted(state, from, state.commit)
    return
  }
  // The store and the state machine handle one snapshot at a time. The leader will send this piece again.
  if (state.installing !== undefined || state.storing !== undefined) return
  // A leader's snapshots only get newer, so an older one is late.
  if (index < (state.incomingSnapshot?.snapshot.index ?? 0)) return
  if (state.incomingSnapshot?.snapshot.index !== index || startsOver(state, message)) {
    state.incomingSnapshot = { snapshot, offset: 0 }
  }
  const { incomingSnapshot } = state
  // The piece is a duplicate or out of order, or this node has restarted: ask for the right one.
  if (offset !== incomingSnapshot.offset) {
    replyNextOffset(state, from, index, incomingSnapshot.offset)
    return
  }
  if (data.length === 0 && !done) return
  state.storing = { snapshot: incomingSnapshot.snapshot, offset, data, done }
  state.pieceReceived = state.storing
}

/**
 * Whether the leader begins with the first piece again, because its snapshot store can no longer read the later pieces.
 * A leader that repeats the first piece because no answer has come has sent no other one.
 */
function startsOver(state: CoreState, { offset, data }: RaftMessageOf<'snapshot'>): boolean {
  return offset === 0 && (state.incomingSnapshot?.offset ?? 0) > data.length
}

/** Called when the snapshot store has written a piece: asks for the next one, or lets the installation begin. */
export function pieceStored(state: CoreState, piece: PieceReceived): void {
  assert(state.storing === piece, `piece ${piece.offset} of ${piece.snapshot.index} was not being stored`)
  state.storing = undefined
  const { incomingSnapshot, leader } = state
  // Another leader's snapshot has replaced this one.
  if (incomingSnapshot?.snapshot !== piece.snapshot) return
  incomingSnapshot.offset += piece.data.length
  if (piece.done) {
    state.incomingSnapshot = undefined
    state.installing = { snapshot: piece.snapshot, begun: false }
  } else if (leader !== undefined) {
    replyNextOffset(state, leader, piece.snapshot.index, incomingSnapshot.offset)
  }
}

/** The snapshot to install now. It waits while entries are being applied, and is dropped if they have overtaken it. */
export function nextInstallation(state: CoreState): SnapshotMeta | undefined {
  const { installing, applied, applying } = state
  if (installing === undefined || installing.begun || applying !== applied) return undefined
  if (installing.snapshot.index <= applied) {
    state.installing = undefined
    return undefined
  }
  installing.begun = true
  return installing.snapshot
}

/**
 * Called when the state machine durably is the snapshot. If a crash comes before the log knows, the next start
 * completes the installation (`finishInstallation`).
 */
export function snapshotInstalled(state: CoreState, snapshot: SnapshotMeta): void {
  const { log, leader } = state
  const { index, term } = snapshot
  endInstallation(state, snapshot)
  state.snapshot = snapshot
  state.applied = index
  state.applying = index
  if (log.matches(index, term)) {
    // Figure 13, step 6: the entries after the snapshot stay.
    if (index > state.commit) state.commitTo(index)
  } else {
    // Figure 13, step 7: the whole log gives way to the snapshot.
    assert(state.commit < index, `${state.commit} is committed, but not entry ${index} of term ${term}`)
    log.reset(snapshot)
    const isFirst = state.configurations.index === 0
    state.configurations.reset(snapshot.configuration)
    if (isFirst) state.assertIdIsNew()
    state.commit = index
  }
  if (leader !== undefined && leader !== state.id) replyAccepted(state, leader, index)
}

/** Called when the stored pieces form no snapshot: the leader is asked to start over. */
export function snapshotRefused(state: CoreState, snapshot: SnapshotMeta): void {
  endInstallation(state, snapshot)
  const { leader, term } = state
  if (leader === undefined || leader === state.id) return
  state.send(leader, { type: 'snapshotReply', term, index: snapshot.index, offset: 0, refused: true })
}

function endInstallation(state: CoreState, snapshot: SnapshotMeta): void {
  assert(
    state.installing?.begun === true && state.installing.snapshot === snapshot,
    `snapshot ${snapshot.index} was not being installed`
  )
  state.installing = undefined
}

/** Names the offset of the piece that this node needs next. */
function replyNextOffset(state: CoreState, to: string, index: number, offset: number): void {
  state.send(to, { type: 'snapshotReply', term: state.term, index, offset, refused: false })
}
