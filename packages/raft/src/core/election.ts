/** Elections: who stands, and who votes for whom (§5.2, §5.4.1; pre-vote: thesis §9.6). */
import type { RaftMessage, RaftMessageOf } from '@quire/protocol'
import { becomeLeader } from './leadership.js'
import { voteResult } from './quorum.js'
import { roomOf } from './room.js'
import type { CoreState } from './state.js'

/** Who is no leader and heard of none for its timeout stands for election (§5.2). */
export function tickElection(state: CoreState): void {
  state.electionElapsed++
  if (state.electionElapsed < state.electionTimeout + campaignDelay(state)) return
  if (state.promotable) preCampaign(state)
  else state.leader = undefined
}

/** A node that lacks room lets those with room stand first. If none of them can win, it stands all the same. */
function campaignDelay(state: CoreState): number {
  return roomOf(state) === 'enough' ? 0 : state.init.electionTicks
}

/**
 * Who heard from a leader within the shortest election timeout takes no part in an election (§6, thesis §4.2.3): a server that was removed,
 * or that hears nothing, could otherwise depose a leader that works. True for elections of higher terms that are to be ignored.
 */
export function isDisruptive(state: CoreState, message: RaftMessage): boolean {
  if (message.type !== 'requestVote' && message.type !== 'requestPreVote') return false
  // The leader asked for this one (thesis §3.10).
  if (message.type === 'requestVote' && message.transfer) return false
  return message.term > state.term && state.leader !== undefined && state.electionElapsed < state.init.electionTicks
}

/** Asks who would vote for this node, without raising its term (thesis §9.6). */
function preCampaign(state: CoreState): void {
  state.becomeFollower(state.term, undefined)
  state.role = 'preCandidate'
  const { lastIndex, lastTerm } = state.log
  const request = { type: 'requestPreVote', term: state.term + 1, lastIndex, lastTerm } as const
  for (const id of state.otherVoters()) state.send(id, request)
  countVote(state, state.id, true)
}

/** `transfer`: the leader asked for it. */
function campaign(state: CoreState, transfer: boolean): void {
  state.becomeFollower(state.term + 1, undefined)
  state.role = 'candidate'
  state.vote = state.id
  // The own vote counts when it is durable, like any other (see countOwnVote).
  const { lastIndex, lastTerm } = state.log
  const request = { type: 'requestVote', term: state.term, lastIndex, lastTerm, transfer } as const
  for (const id of state.otherVoters()) state.sendAfterWrite(id, request)
}

/** Stand now, says the leader of the own term: `step` saw to that (thesis §3.10). */
export function handleTimeoutNow(state: CoreState): void {
  // No pre-vote: the leader has decided that its time is over.
  if (state.configuration.voters.includes(state.id)) campaign(state, true)
}

/** The vote that was handed to storage in `term` is durable. In a later term it is worth nothing. */
export function countOwnVote(state: CoreState, term: number): void {
  if (state.role === 'candidate' && state.term === term) countVote(state, state.id, true)
}

/**
 * Pre-vote, receiver. It promises nothing, so nothing is written and the term stays. Whoever asks for a term that has been
 * reached learns that.
 */
export function handleRequestPreVote(state: CoreState, from: string, message: RaftMessageOf<'requestPreVote'>): void {
  const { term, lastIndex, lastTerm } = message
  const granted = term > state.term && mayVote(state) && state.log.isUpToDate(lastIndex, lastTerm)
  state.send(from, { type: 'preVoteReply', term: granted ? term : state.term, granted })
}

export function handlePreVoteReply(state: CoreState, from: string, message: RaftMessageOf<'preVoteReply'>): void {
  const { term, granted } = message
  if (!granted && term > state.term) state.becomeFollower(term, undefined)
  // A grant is for the term that it names: one that comes late was for another election.
  else if (state.role === 'preCandidate' && (!granted || term === state.term + 1)) countVote(state, from, granted)
}

/** RequestVote, receiver (Figure 2). The sender's term is not above the own: `step` saw to that. */
export function handleRequestVote(state: CoreState, from: string, message: RaftMessageOf<'requestVote'>): void {
  const free = state.vote === from || (state.vote === undefined && state.leader === undefined)
  // §5.4.1: only who has everything that may be committed gets a vote.
  const isUpToDate = state.log.isUpToDate(message.lastIndex, message.lastTerm)
  const granted = message.term === state.term && free && mayVote(state) && isUpToDate
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

/**
 * Who is no voter by its own log votes as well: the candidate may know of a promotion that has not come here (thesis §4.2.2). But not who has
 * just joined and knows nothing at all.
 */
function mayVote(state: CoreState): boolean {
  return state.configuration.voters.length > 0
}

function countVote(state: CoreState, from: string, granted: boolean): void {
  if (!state.votes.has(from)) state.votes.set(from, granted)
  const result = voteResult(state.configuration, state.votes)
  if (result === 'lost') state.becomeFollower(state.term, undefined)
  else if (result === 'won' && state.role === 'preCandidate') campaign(state, false)
  else if (result === 'won') becomeLeader(state)
}
