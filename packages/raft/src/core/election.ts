import type { RaftMessageOf } from '@quire/protocol'
import { hasQuorum, voteResult } from './configuration.js'
import { Progress } from './progress.js'
import { appendAsLeader } from './replication.js'
import type { CoreState } from './state.js'

/** A follower or candidate that heard no leader for its timeout starts an election (§5.2). */
export function tickElection(state: CoreState): void {
  if (!state.isVoter) return
  state.electionElapsed++
  if (state.electionElapsed >= state.electionTimeout) campaign(state)
}

/**
 * A leader that has not heard from a majority for an election timeout steps down (thesis §6.2): it could commit nothing, its reads
 * would wait for ever, and its clients would not look for the leader that the others may have elected.
 */
export function checkQuorum(state: CoreState): void {
  if (++state.electionElapsed < state.init.electionTicks) return
  state.electionElapsed = 0
  const { progress } = state
  if (!hasQuorum(state.configurations.current, (id) => id === state.id || progress.get(id)?.active === true)) {
    state.becomeFollower(state.term, undefined)
  }
  for (const each of progress.values()) each.active = false
}

function campaign(state: CoreState): void {
  state.becomeFollower(state.term + 1, undefined)
  state.role = 'candidate'
  state.vote = state.id
  // The own vote counts when it is durable, like any other (see countOwnVote).
  const request = {
    type: 'requestVote',
    term: state.term,
    lastIndex: state.log.lastIndex,
    lastTerm: state.log.lastTerm
  } as const
  for (const id of state.configurations.current.voters) if (id !== state.id) state.sendAfterWrite(id, request)
}

/** The vote that was handed to storage in `term` is durable. In a later term it is worth nothing. */
export function countOwnVote(state: CoreState, term: number): void {
  if (state.role === 'candidate' && state.term === term) countVote(state, state.id, true)
}

/** RequestVote, receiver (Figure 2). The sender's term is not above the own: `step` saw to that. */
export function handleRequestVote(state: CoreState, from: string, message: RaftMessageOf<'requestVote'>): void {
  const free = state.vote === from || (state.vote === undefined && state.leader === undefined)
  const granted = message.term === state.term && free && state.log.isUpToDate(message.lastIndex, message.lastTerm)
  if (granted) {
    state.vote = from
    state.resetElectionTimer()
  }
  // A vote that is sent before it is durable can be cast twice after a crash (Figure 2, "Persistent state").
  state.sendAfterWrite(from, { type: 'voteReply', term: state.term, granted })
}

export function handleVoteReply(state: CoreState, from: string, message: RaftMessageOf<'voteReply'>): void {
  if (state.role === 'candidate') countVote(state, from, message.granted)
}

function countVote(state: CoreState, from: string, granted: boolean): void {
  if (!state.votes.has(from)) state.votes.set(from, granted)
  const result = voteResult(state.configurations.current, state.votes)
  if (result === 'won') becomeLeader(state)
  else if (result === 'lost') state.becomeFollower(state.term, undefined)
}

function becomeLeader(state: CoreState): void {
  state.role = 'leader'
  state.leader = state.id
  state.forgetVolatile()
  state.heartbeatElapsed = 0
  state.electionElapsed = 0
  for (const id of state.others()) state.progress.set(id, new Progress(state.log.lastIndex + 1))
  // §8: an entry of the own term finds out what is committed. Its append is also the first heartbeat.
  appendAsLeader(state, 'noop', new Uint8Array(0))
}
