/** A leader's time in office: how it begins, what keeps it, and how it ends. */
import { isJoint, leaveJoint } from './configuration.js'
import { appendConfiguration } from './membership.js'
import { hasQuorum } from './quorum.js'
import { appendAsLeader, sendHeartbeats } from './replication.js'
import type { CoreState } from './state.js'
import { roomierVoter, roomOf } from './room.js'
import { mostAdvancedVoter, transferLeadership } from './transfer.js'

export function becomeLeader(state: CoreState): void {
  state.role = 'leader'
  state.leader = state.id
  state.resetVolatileState()
  state.heartbeatElapsed = 0
  state.electionElapsed = 0
  // §8: an entry of the own term finds out what is committed. Its append is also the first heartbeat.
  state.termStart = appendAsLeader(state, 'noop', new Uint8Array(0)).index
  state.syncProgress()
  for (const each of state.progress.values()) each.beginActivityWindow()
}

export function tickLeader(state: CoreState): void {
  if (++state.electionElapsed >= state.init.electionTicks) {
    state.electionElapsed = 0
    checkQuorum(state)
    if (state.role === 'leader') checkRoom(state)
    if (state.role === 'leader') checkDisk(state)
  }
  if (state.role !== 'leader') return
  if (state.transfer !== undefined && ++state.transfer.elapsed >= state.init.electionTicks) {
    // Thesis §3.10: it has not come about in time, so this leader goes on.
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
 * A leader that has not heard from a majority for an election timeout steps down (thesis §6.2): it could commit nothing, its reads
 * would wait for ever, and its clients would not look for the leader that the others may have elected.
 */
function checkQuorum(state: CoreState): void {
  const { progress } = state
  if (!hasQuorum(state.configuration, (id) => id === state.id || progress.get(id)?.active === true)) {
    state.becomeFollower(state.term, undefined)
  }
  for (const each of progress.values()) each.beginActivityWindow()
}

/** Election timeouts between two offers of leadership, when the first came to nothing. */
const HAND_OVER_PAUSE = 4

/**
 * A leader that lacks room can take no more writes; another voter may be able to. While one is there, this leader
 * gives leadership away, as a transfer: nothing that it has taken is lost on the way. Without one it stays, because
 * its reads still work.
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
 * A leader whose disk hangs, without failing, could commit by the others' disks and keep its office, but would apply nothing: every read would wait for
 * ever. Somebody else may have a disk that works.
 */
function checkDisk(state: CoreState): void {
  const { stalledWrite, log } = state
  const write = log.oldestWrite
  if (write === undefined || write !== stalledWrite?.write)
    state.stalledWrite = write === undefined ? undefined : { write, timeouts: 0 }
  else if (++stalledWrite.timeouts === MAX_WRITE_TIMEOUTS && state.otherVoters().length > 0) stepDown(state)
}

/** What a leader does when the newest configuration is committed: leaves a joint one, or leaves office if it is not part of it. */
export function finishChange(state: CoreState): void {
  const { configuration, configurations } = state
  if (configurations.index > state.commit) return
  if (isJoint(configuration)) appendConfiguration(state, leaveJoint(configuration), configurations.current.context)
  else if (!configuration.voters.includes(state.id)) stepDown(state)
}

/**
 * §6: the leader steps down when it has committed a configuration without itself, or cannot do its work. It tells the others what is committed, and the
 * most advanced of them to stand, so that nobody has to wait for a timeout.
 */
function stepDown(state: CoreState): void {
  sendHeartbeats(state)
  const next = mostAdvancedVoter(state)
  if (next !== undefined) state.send(next, { type: 'timeoutNow', term: state.term })
  state.becomeFollower(state.term, undefined)
}
