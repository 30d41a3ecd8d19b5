/** A leader's term: how it begins, what the leader checks, and how it steps down. */
import { isJoint, leaveJoint } from './configuration.js'
import { appendConfiguration } from './membership.js'
import { hasQuorum } from './quorum.js'
import { appendAsLeader, sendHeartbeats } from './replication.js'
import type { CoreState } from './state.js'
import { roomierVoter, roomOf } from './room.js'
import { mostAdvancedVoter, transferLeadership } from './transfer.js'

/** Called when an election is won (Figure 2, "Leaders"). */
export function becomeLeader(state: CoreState): void {
  state.role = 'leader'
  state.leader = state.id
  state.resetVolatileState()
  state.heartbeatElapsed = 0
  state.electionElapsed = 0
  // §8: an entry of its own term tells the leader what is committed. Its append is also the first heartbeat.
  state.termStart = appendAsLeader(state, 'noop', new Uint8Array(0)).index
  state.syncProgress()
  for (const each of state.progress.values()) each.startQuorumPeriod()
}

/** Runs the leader's checks once per election timeout, and sends heartbeats (§5.2). */
export function tickLeader(state: CoreState): void {
  if (++state.electionElapsed >= state.init.electionTicks) {
    state.electionElapsed = 0
    checkQuorum(state)
    if (state.role === 'leader') checkRoom(state)
    if (state.role === 'leader') checkDisk(state)
  }
  if (state.role !== 'leader') return
  if (state.transfer !== undefined && ++state.transfer.elapsed >= state.init.electionTicks) {
    // Thesis §3.10: the target did not take over in time, so this leader takes proposals again.
    state.transfer = undefined
  }
  if (++state.heartbeatElapsed < state.init.heartbeatTicks) return
  state.heartbeatElapsed = 0
  for (const each of state.progress.values()) {
    each.retryDue = true
    each.unreadable = false
  }
  sendHeartbeats(state)
}

/**
 * A leader that has not heard from a majority for an election timeout steps down (thesis §6.2). It could commit
 * nothing, its reads would never complete, and its clients would not look for the leader that the others may have
 * elected.
 */
function checkQuorum(state: CoreState): void {
  const { progress } = state
  if (!hasQuorum(state.configuration, (id) => id === state.id || progress.get(id)?.active === true)) {
    state.becomeFollower(state.term, undefined)
  }
  for (const each of progress.values()) each.startQuorumPeriod()
  state.caughtUpIndex = state.checkedCommit
  state.checkedCommit = state.commit
}

/** Election timeouts between two offers of leadership, after the first led to nothing. */
const HAND_OVER_PAUSE = 4

/**
 * A leader that lacks room can take no more writes, but another voter may. If there is one, this leader transfers
 * leadership to it, and nothing that it has accepted is lost. If there is none, it stays, because its reads still work.
 */
function checkRoom(state: CoreState): void {
  if (roomOf(state) === 'enough') state.handOverPause = 0
  else if (state.handOverPause > 0) state.handOverPause--
  else if (state.transfer === undefined) {
    const to = roomierVoter(state)
    if (to === undefined) return
    state.handOverPause = HAND_OVER_PAUSE
    transferLeadership(state, to)
  }
}

/** Election timeouts that one write may take. */
const MAX_WRITE_TIMEOUTS = 4

/**
 * A leader whose disk hangs without failing could still commit by the followers' disks, and so stay leader. But it
 * would apply nothing, and every read would wait forever. A leader with a working disk serves better.
 */
function checkDisk(state: CoreState): void {
  const { stalledWrite, log } = state
  const write = log.oldestWrite
  if (write === undefined || write !== stalledWrite?.write)
    state.stalledWrite = write === undefined ? undefined : { write, timeouts: 0 }
  else if (++stalledWrite.timeouts === MAX_WRITE_TIMEOUTS && state.otherVoters().length > 0) stepDown(state)
}

/**
 * Called before each `Ready`: once the newest configuration is committed, the leader leaves a joint one, or steps down
 * if it is not a voter (§6).
 */
export function finishChange(state: CoreState): void {
  const { configuration, configurations } = state
  if (configurations.index > state.commit) return
  if (isJoint(configuration)) appendConfiguration(state, leaveJoint(configuration), configurations.current.context)
  else if (!configuration.voters.includes(state.id)) stepDown(state)
}

/**
 * A leader steps down when a committed configuration does not include it (§6), or when it cannot do its work. It first
 * tells the followers what is committed, and tells the best of them to stand, so that no election timeout has to pass.
 */
function stepDown(state: CoreState): void {
  sendHeartbeats(state)
  const next = mostAdvancedVoter(state)
  if (next !== undefined) state.send(next, { type: 'timeoutNow', term: state.term })
  state.becomeFollower(state.term, undefined)
}
