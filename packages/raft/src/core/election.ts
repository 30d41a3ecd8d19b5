/** Elections: which node stands, and which node gets a vote (§5.2, §5.4.1; pre-vote: thesis §9.6). */
import type { RaftMessage, RaftMessageOf } from '@quire/protocol'
import { becomeLeader } from './leadership.js'
import { voteResult } from './quorum.js'
import { roomOf } from './room.js'
import type { CoreState } from './state.js'

/** A node that hears from no leader within its election timeout starts an election (§5.2). */
export function tickElection(state: CoreState): void {
  state.electionElapsed++
  if (state.electionElapsed < state.electionTimeout + campaignDelay(state)) return
  if (state.promotable) preCampaign(state)
  else state.leader = undefined
}

/**
 * A node that lacks room waits longer, so that voters with room stand first. If none of them can win, it stands too.
 */
function campaignDelay(state: CoreState): number {
  return roomOf(state) === 'enough' ? 0 : state.init.electionTicks
}

/**
 * True for a vote request that this node must ignore (§6, thesis §4.2.3): it names a higher term, but this node has
 * heard from a leader within the shortest election timeout. Otherwise a server that was removed, or that no message
 * reaches, could depose a working leader.
 */
export function isDisruptive(state: CoreState, message: RaftMessage): boolean {
  if (message.type !== 'requestVote' && message.type !== 'requestPreVote') return false
  // The leader asked for this election (thesis §3.10).
  if (message.type === 'requestVote' && message.transfer) return false
  return message.term > state.term && state.leader !== undefined && state.electionElapsed < state.init.electionTicks
}

/** Asks which voters would vote for this node, without raising its term (thesis §9.6). */
function preCampaign(state: CoreState): void {
  state.becomeFollower(state.term, undefined)
  state.role = 'preCandidate'
  const { lastIndex, lastTerm } = state.log
  const request = { type: 'requestPreVote', term: state.term + 1, lastIndex, lastTerm } as const
  for (const id of state.otherVoters()) state.send(id, request)
  countVote(state, state.id, true)
}

/** Stands for election. `transfer` says that the leader asked for it. */
function campaign(state: CoreState, transfer: boolean): void {
  state.becomeFollower(state.term + 1, undefined)
  state.role = 'candidate'
  state.vote = state.id
  // This node's own vote counts when it is durable, like any other (see countOwnVote).
  const { lastIndex, lastTerm } = state.log
  const request = { type: 'requestVote', term: state.term, lastIndex, lastTerm, transfer } as const
  for (const id of state.otherVoters()) state.sendAfterWrite(id, request)
}

/** The leader of this node's term, as `step` has checked, tells it to stand at once (thesis §3.10). */
export function handleTimeoutNow(state: CoreState): void {
  // A pre-vote would be pointless: the leader has decided to go.
  if (state.configuration.voters.includes(state.id)) campaign(state, true)
}

/**
 * Called when the vote that was handed to storage in `term` is durable. In a later term that vote counts for nothing.
 */
export function countOwnVote(state: CoreState, term: number): void {
  if (state.role === 'candidate' && state.term === term) countVote(state, state.id, true)
}

/**
 * Pre-vote, receiver. The answer promises nothing, so nothing is written and the term stays. A refusal names this
 * node's term, so that a candidate that is behind learns of it.
 */
export function handleRequestPreVote(state: CoreState, from: string, message: RaftMessageOf<'requestPreVote'>): void {
  const { term, lastIndex, lastTerm } = message
  const granted = term > state.term && mayVote(state) && state.log.isUpToDate(lastIndex, lastTerm)
  state.send(from, { type: 'preVoteReply', term: granted ? term : state.term, granted })
}

/** Pre-vote, sender: a majority of grants leads to an election, and a refusal may reveal a higher term. */
export function handlePreVoteReply(state: CoreState, from: string, message: RaftMessageOf<'preVoteReply'>): void {
  const { term, granted } = message
  if (!granted && term > state.term) state.becomeFollower(term, undefined)
  // A grant counts only for the term that it names: a late grant belongs to an earlier election.
  else if (state.role === 'preCandidate' && (!granted || term === state.term + 1)) countVote(state, from, granted)
}

/** RequestVote, receiver (Figure 2). The sender's term is not above this node's, as `step` has checked. */
export function handleRequestVote(state: CoreState, from: string, message: RaftMessageOf<'requestVote'>): void {
  const free = state.vote === from || (state.vote === undefined && state.leader === undefined)
  // §5.4.1: a candidate gets a vote only if its log holds everything that may be committed.
  const isUpToDate = state.log.isUpToDate(message.lastIndex, message.lastTerm)
  const granted = message.term === state.term && free && mayVote(state) && isUpToDate
  if (granted) {
    state.vote = from
    state.resetElectionTimer()
  }
  // A vote that is sent before it is durable can be cast twice after a crash (Figure 2, "Persistent state").
  state.sendAfterWrite(from, { type: 'voteReply', term: state.term, granted })
}

/** RequestVote, sender (Figure 2, "Candidates"). `step` drops replies of an earlier term. */
export function handleVoteReply(state: CoreState, from: string, message: RaftMessageOf<'voteReply'>): void {
  if (state.role === 'candidate') countVote(state, from, message.granted)
}

/**
 * A node answers vote requests even if its own log does not list it as a voter: the candidate may know of a promotion
 * that this node does not (thesis §4.2.2). For example, the voters 2 and 3 commit the promotion of learner 1, and then
 * 2 fails. Only 3 can win the election, and it needs the vote of 1, which learns of its promotion only from the winner.
 *
 * A node that joins and has no configuration yet grants no vote.
 */
function mayVote(state: CoreState): boolean {
  return state.configuration.voters.length > 0
}

/** Counts a node's first answer. The election ends as soon as the answers decide it. */
function countVote(state: CoreState, from: string, granted: boolean): void {
  if (!state.votes.has(from)) state.votes.set(from, granted)
  const result = voteResult(state.configuration, state.votes)
  if (result === 'lost') state.becomeFollower(state.term, undefined)
  else if (result === 'won' && state.role === 'preCandidate') campaign(state, false)
  else if (result === 'won') becomeLeader(state)
}
