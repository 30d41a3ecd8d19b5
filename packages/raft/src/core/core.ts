import { assert, type RaftMessage } from '@quire/protocol'
import { checkQuorum, countOwnVote, handleRequestVote, handleVoteReply, tickElection } from './election.js'
import {
  advanceCommit,
  handleAppend,
  handleAppendReply,
  handleHeartbeat,
  handleHeartbeatReply,
  propose,
  replicate,
  sendHeartbeats
} from './replication.js'
import { CoreState } from './state.js'
import type {
  Configuration,
  Entry,
  HardState,
  Proposed,
  RaftCore,
  RaftCoreInit,
  Ready,
  Role,
  SoftState,
  StorageAck,
  StorageWrite
} from './types.js'

export function createRaftCore(init: RaftCoreInit): RaftCore {
  const { electionTicks, heartbeatTicks } = init
  assert(heartbeatTicks > 0 && heartbeatTicks < electionTicks, `heartbeat ${heartbeatTicks} of ${electionTicks} ticks`)
  return new Core(init)
}

class Core implements RaftCore {
  private readonly state: CoreState
  /** What storage was last given. */
  private written: HardState
  private reported: SoftState

  constructor(init: RaftCoreInit) {
    this.state = new CoreState(init)
    this.written = init.hardState
    this.reported = this.softState()
  }

  get term(): number {
    return this.state.term
  }

  get role(): Role {
    return this.state.role
  }

  get leader(): string | undefined {
    return this.state.leader
  }

  get lastIndex(): number {
    return this.state.log.lastIndex
  }

  get commitIndex(): number {
    return this.state.commit
  }

  get appliedIndex(): number {
    return this.state.applied
  }

  get configuration(): Configuration {
    return this.state.configurations.current
  }

  get leaderReady(): boolean {
    const { role, log, applied, term } = this.state
    return role === 'leader' && log.term(applied) === term
  }

  tick(): void {
    const { state } = this
    if (state.role !== 'leader') return tickElection(state)
    checkQuorum(state)
    if (state.role === 'leader' && ++state.heartbeatElapsed >= state.init.heartbeatTicks) sendHeartbeats(state)
  }

  step(from: string, message: RaftMessage): void {
    const { state } = this
    if (message.term < state.term) {
      this.refuseStale(from, message)
      return
    }
    const fromLeader = message.type === 'append' || message.type === 'heartbeat'
    // §5.1: whoever sees a higher term becomes a follower; §5.2: so does a candidate that hears from the leader of its term.
    if (message.term > state.term) {
      state.becomeFollower(message.term, fromLeader ? from : undefined)
    } else if (fromLeader) {
      assert(state.role !== 'leader', `two leaders in term ${state.term}: ${state.id} and ${from}`)
      assert(
        state.leader === undefined || state.leader === from,
        `two leaders in ${state.term}: ${state.leader}, ${from}`
      )
      if (state.role === 'candidate' || state.leader === undefined) state.becomeFollower(state.term, from)
      else state.electionElapsed = 0
    }
    this.dispatch(from, message)
  }

  private dispatch(from: string, message: RaftMessage): void {
    const { state } = this
    switch (message.type) {
      case 'requestVote':
        return handleRequestVote(state, from, message)
      case 'voteReply':
        return handleVoteReply(state, from, message)
      case 'append':
        return handleAppend(state, from, message)
      case 'appendReply':
        return handleAppendReply(state, from, message)
      case 'heartbeat':
        return handleHeartbeat(state, from, message)
      case 'heartbeatReply':
        return handleHeartbeatReply(state, from, message)
    }
  }

  /** Requests of an earlier term are answered with the own, so that their sender steps down; replies are dropped (§5.1). */
  private refuseStale(from: string, message: RaftMessage): void {
    const { state } = this
    const { term } = state
    if (message.type === 'requestVote') {
      state.sendAfterWrite(from, { type: 'voteReply', term, granted: false })
    } else if (message.type === 'append') {
      const index = message.prevIndex
      state.sendAfterWrite(from, { type: 'appendReply', term, rejected: true, index, hintIndex: 0, hintTerm: 0 })
    } else if (message.type === 'heartbeat') {
      state.sendAfterWrite(from, { type: 'heartbeatReply', term, round: message.round })
    }
  }

  propose(datas: readonly Uint8Array[]): Proposed {
    return propose(this.state, datas)
  }

  readIndex(context: number): boolean {
    if (this.state.role !== 'leader') return false
    this.state.reads.add(context)
    return true
  }

  ready(): Ready | undefined {
    const { state } = this
    if (state.role === 'leader') this.lead()
    const softState = this.changedSoftState()
    const write = this.nextWrite()
    const committed = this.nextCommitted()
    const { messages, messagesAfter, readStates } = state
    const idle = softState === undefined && write === undefined && committed.length === 0
    if (idle && messages.length === 0 && messagesAfter.length === 0 && readStates.length === 0) return undefined
    state.messages = []
    state.messagesAfter = []
    state.readStates = []
    return { messages, write, messagesAfter, committed, readStates, softState }
  }

  /** Leader: what one turn gathered leaves together, as one append a follower and one round for all reads. */
  private lead(): void {
    const { state } = this
    replicate(state)
    // Before an own entry is committed, the own commit index may be behind what an earlier leader committed (§8).
    if (state.reads.hasWaiting && state.committedInTerm) {
      state.reads.begin(state.commit, state.id)
      sendHeartbeats(state)
    }
    state.readStates.push(...state.reads.take(state.configurations.current))
  }

  private nextWrite(): StorageWrite | undefined {
    const { state } = this
    const { term, vote, log } = state
    const mustWrite = term !== this.written.term || vote !== this.written.vote
    if (!mustWrite && !log.hasUnwritten) return undefined
    // The commit index needs no flush of its own: it travels with what must be written anyway.
    const commit = Math.max(this.written.commit, Math.min(state.commit, log.durableIndex))
    const changed = mustWrite || commit !== this.written.commit
    const hardState = { term, vote, commit }
    this.written = hardState
    const { ack, entries } = log.beginWrite(term)
    return { ack, entries, hardState: changed ? hardState : undefined }
  }

  /** Committed entries wait for the own disk, or the state machine could be ahead of the log after a crash. */
  private nextCommitted(): readonly Entry[] {
    const { state } = this
    const end = Math.min(state.commit, state.log.durableIndex)
    if (state.applying !== state.applied || end <= state.applied) return []
    const entries = state.log.entries(state.applied + 1, end, state.init.limits.maxApplyBytes)
    state.applying = entries.at(-1)!.index
    return entries
  }

  private changedSoftState(): SoftState | undefined {
    const now = this.softState()
    const { role, term, leader } = this.reported
    if (now.role === role && now.term === term && now.leader === leader) return undefined
    this.reported = now
    return now
  }

  private softState(): SoftState {
    return { role: this.state.role, term: this.state.term, leader: this.state.leader }
  }

  persisted(ack: StorageAck): void {
    const { state } = this
    const advanced = state.log.endWrite(ack)
    countOwnVote(state, ack.term)
    if (advanced) advanceCommit(state)
  }

  applied(index: number): void {
    const { state } = this
    assert(
      index > state.applied && index <= state.applying,
      `applied ${index}, was ${state.applied} of ${state.applying}`
    )
    state.applied = index
  }
}
