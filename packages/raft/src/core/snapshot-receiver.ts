/**
 * Snapshots, the follower's half (§7, Figure 13). Pieces are stored in order; when all are there, the state machine becomes the snapshot, and
 * only then does the log start after it. Whoever calls is the leader of the own term: `step` saw to that.
 */
import { assert, type RaftMessageOf } from '@quire/protocol'
import { replyAccepted } from './follower.js'
import type { CoreState } from './state.js'
import type { PieceReceived, SnapshotMeta } from './types.js'

export function handleSnapshot(state: CoreState, from: string, message: RaftMessageOf<'snapshot'>): void {
  const { snapshot, offset, data, done } = message
  const { index, term } = snapshot
  if (index <= state.commit || state.log.matches(index, term)) {
    // Stale, or the log has it all (Figure 13, step 6): a snapshot holds nothing but what is committed.
    if (index > state.commit) state.commitTo(index)
    replyAccepted(state, from, state.commit)
    return
  }
  // One at a time, in the store and in the state machine. The leader sends again.
  if (state.installing !== undefined || state.storing !== undefined) return
  // A leader's snapshots only get newer, so an older one comes late.
  if (index < (state.incomingSnapshot?.snapshot.index ?? 0)) return
  if (state.incomingSnapshot?.snapshot.index !== index) state.incomingSnapshot = { snapshot, offset: 0 }
  const { incomingSnapshot } = state
  // Doubled, out of order, or the first after a restart.
  if (offset !== incomingSnapshot.offset) {
    replyNextOffset(state, from, index, incomingSnapshot.offset)
    return
  }
  if (data.length === 0 && !done) return
  state.storing = { snapshot: incomingSnapshot.snapshot, offset, data, done }
  state.pieceReceived = state.storing
}

export function pieceStored(state: CoreState, piece: PieceReceived): void {
  assert(state.storing === piece, `piece ${piece.offset} of ${piece.snapshot.index} was not being stored`)
  state.storing = undefined
  const { incomingSnapshot, leader } = state
  // Another leader's snapshot has taken its place meanwhile.
  if (incomingSnapshot?.snapshot !== piece.snapshot) return
  incomingSnapshot.offset += piece.data.length
  if (piece.done) {
    state.incomingSnapshot = undefined
    state.installing = { snapshot: piece.snapshot, begun: false }
  } else if (leader !== undefined) {
    replyNextOffset(state, leader, piece.snapshot.index, incomingSnapshot.offset)
  }
}

/** The snapshot to install now: not while entries are being applied, and not one that they have overtaken. */
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

/** The state machine is the snapshot, durably. A crash before the log knows is mended at the next start (`finishInstallation`). */
export function snapshotInstalled(state: CoreState, snapshot: SnapshotMeta): void {
  const { log, leader } = state
  const { index, term } = snapshot
  endInstallation(state, snapshot)
  state.snapshot = snapshot
  state.applied = index
  state.applying = index
  if (log.matches(index, term)) {
    // Figure 13, step 6: what follows in the log stays.
    if (index > state.commit) state.commitTo(index)
  } else {
    // Figure 13, step 7.
    assert(state.commit < index, `${state.commit} is committed, but not entry ${index} of term ${term}`)
    log.reset(snapshot)
    const isFirst = state.configurations.index === 0
    state.configurations.reset(snapshot.configuration)
    if (isFirst) state.assertIdIsNew()
    state.commit = index
  }
  if (leader !== undefined && leader !== state.id) replyAccepted(state, leader, index)
}

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

function replyNextOffset(state: CoreState, to: string, index: number, offset: number): void {
  state.send(to, { type: 'snapshotReply', term: state.term, index, offset, refused: false })
}
