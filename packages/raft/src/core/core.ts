import { assert, type RaftMessage, type RaftMessageOf, type RaftRoom } from '@quire/protocol'
import {
  countOwnVote,
  handlePreVoteReply,
  handleRequestPreVote,
  handleRequestVote,
  handleTimeoutNow,
  handleVoteReply,
  isDisruptive,
  tickElection
} from './election.js'
import { handleAppend, handleHeartbeat } from './follower.js'
import { finishChange, tickLeader } from './leadership.js'
import { changeMembership } from './membership.js'
import {
  advanceCommit,
  handleAppendReply,
  handleHeartbeatReply,
  propose,
  replicate,
  sendHeartbeats
} from './replication.js'
import { roomierVoter, roomOf } from './room.js'
import { handleSnapshot, pieceStored, snapshotInstalled, snapshotRefused } from './snapshot-receiver.js'
import { handleSnapshotReply, pieceRead } from './snapshot-sender.js'
import { ReadyQueue } from './ready-queue.js'
import { CoreState } from './state.js'
import { mostAdvancedVoter, transferLeadership } from './transfer.js'
import type { Progress } from './progress.js'
import type {
  ChangeProposed,
  FullConfiguration,
  MembershipChange,
  PieceReceived,
  PieceWanted,
  Proposed,
  RaftCore,
  RaftCoreInit,
  Ready,
  CoreRole,
  FollowerProgress,
  SnapshotMeta,
  StorageAck,
  TransferRefusal
} from './types.js'

/** Messages that only the leader of their term sends. */
const LEADER_MESSAGES: readonly RaftMessage['type'][] = ['append', 'heartbeat', 'snapshot', 'timeoutNow']

/**
 * Messages that carry their sender's current term. A pre-vote instead names the term that its sender would stand in.
 */
type TermBound = Exclude<RaftMessage['type'], 'requestPreVote' | 'preVoteReply'>

export function createRaftCore(init: RaftCoreInit): RaftCore {
  const { electionTicks, heartbeatTicks } = init
  assert(
    heartbeatTicks > 0 && heartbeatTicks < electionTicks,
    `heartbeatTicks ${heartbeatTicks} must be from 1 to below electionTicks ${electionTicks}`
  )
  return new Core(init)
}

/** Presents the rules, which are functions over `CoreState`, as a `RaftCore`. */
class Core implements RaftCore {
  private readonly state: CoreState
  private readonly output: ReadyQueue

  constructor(init: RaftCoreInit) {
    this.state = new CoreState(init)
    this.output = new ReadyQueue(this.state)
  }

  get term(): number {
    return this.state.term
  }

  get role(): CoreRole {
    return this.state.role
  }

  get leader(): string | undefined {
    return this.state.leader
  }

  get firstIndex(): number {
    return this.state.log.firstIndex
  }

  get lastIndex(): number {
    return this.state.log.lastIndex
  }

  get durableIndex(): number {
    return this.state.log.durableIndex
  }

  get commitIndex(): number {
    return this.state.commit
  }

  get appliedIndex(): number {
    return this.state.applied
  }

  get configuration(): FullConfiguration {
    return this.state.configuration
  }

  get configurationIndex(): number {
    return this.state.configurations.index
  }

  get leaderReady(): boolean {
    const { role, log, applied, term } = this.state
    return role === 'leader' && log.term(applied) === term
  }

  get followers(): ReadonlyMap<string, FollowerProgress> {
    const { progress, caughtUpIndex } = this.state
    const facts = ({ match, answers }: Progress): FollowerProgress => ({
      matchIndex: match,
      answers,
      hasCaughtUp: match >= caughtUpIndex
    })
    return new Map([...progress].map(([id, each]) => [id, facts(each)]))
  }

  get transferTarget(): string | undefined {
    return this.state.transfer?.to
  }

  get mostAdvancedVoter(): string | undefined {
    return this.state.role === 'leader' ? mostAdvancedVoter(this.state) : undefined
  }

  tick(): void {
    this.state.unreadable = false
    if (this.state.role === 'leader') tickLeader(this.state)
    else tickElection(this.state)
  }

  step(from: string, message: RaftMessage): void {
    const { state } = this
    if (isDisruptive(state, message)) return
    // A pre-vote changes no node's term (thesis §9.6).
    if (message.type === 'requestPreVote') return handleRequestPreVote(state, from, message)
    if (message.type === 'preVoteReply') return handlePreVoteReply(state, from, message)
    if (message.term < state.term) return this.refuseStale(from, message)
    const fromLeader = LEADER_MESSAGES.includes(message.type)
    // §5.1: a node that sees a higher term becomes a follower.
    // §5.2: so does a candidate that hears from the leader of its own term.
    if (message.term > state.term) {
      state.becomeFollower(message.term, fromLeader ? from : undefined)
    } else if (fromLeader) {
      assert(state.role !== 'leader', `two leaders in term ${state.term}: ${state.id} and ${from}`)
      assert(
        state.leader === undefined || state.leader === from,
        `two leaders in ${state.term}: ${state.leader}, ${from}`
      )
      if (state.role !== 'follower' || state.leader === undefined) state.becomeFollower(state.term, from)
      else state.electionElapsed = 0
    }
    this.dispatch(from, message)
  }

  /** Hands the message to its rule. Its term is this node's term. */
  private dispatch(from: string, message: RaftMessageOf<TermBound>): void {
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
      case 'snapshot':
        return handleSnapshot(state, from, message)
      case 'snapshotReply':
        return handleSnapshotReply(state, from, message)
      case 'timeoutNow':
        return handleTimeoutNow(state)
    }
  }

  /**
   * Answers requests of an earlier term with this node's term, so that their sender steps down, and drops replies
   * (§5.1). While the other nodes stick to a leader, this node's own elections do not reach that leader: this answer is
   * the only way in which the leader learns of the higher term.
   */
  private refuseStale(from: string, message: RaftMessage): void {
    const { state } = this
    const { term } = state
    if (message.type === 'requestVote') {
      state.sendAfterWrite(from, { type: 'voteReply', term, granted: false })
    } else if (message.type === 'append') {
      const index = message.prevIndex
      state.sendAfterWrite(from, { type: 'appendReply', term, rejected: true, index, hintIndex: 0, hintTerm: 0 })
    } else if (message.type === 'heartbeat') {
      state.sendAfterWrite(from, { type: 'heartbeatReply', term, round: message.round, room: roomOf(state) })
    } else if (message.type === 'snapshot') {
      const { index } = message.snapshot
      state.sendAfterWrite(from, { type: 'snapshotReply', term, index, offset: 0, refused: false })
    }
  }

  termOf(index: number): number | undefined {
    return this.state.log.term(index)
  }

  propose(datas: readonly Uint8Array[]): Proposed {
    return propose(this.state, datas)
  }

  changeMembership(changes: readonly MembershipChange[], context?: Uint8Array): ChangeProposed {
    return changeMembership(this.state, changes, context)
  }

  transferLeadership(to: string): TransferRefusal {
    return transferLeadership(this.state, to)
  }

  readIndex(context: number): boolean {
    if (this.state.role !== 'leader') return false
    this.state.reads.add(context)
    return true
  }

  ready(): Ready | undefined {
    if (this.state.role === 'leader') this.prepareLeaderOutput()
    return this.output.next()
  }

  /** Leader: sends what one turn gathered, as one append per follower and one heartbeat round for all reads. */
  private prepareLeaderOutput(): void {
    const { state } = this
    finishChange(state)
    replicate(state)
    // Until it commits an entry of its own term, a leader may not know all that earlier leaders committed (§8).
    if (state.reads.hasWaiting && state.committedInTerm) {
      state.reads.begin(state.commit, state.id)
      sendHeartbeats(state)
    }
    state.readStates.push(...state.reads.take(state.configuration))
  }

  persisted(ack: StorageAck): void {
    const { state } = this
    const advanced = state.log.endWrite(ack)
    countOwnVote(state, ack.term)
    if (advanced) advanceCommit(state)
  }

  persistedInPart(ack: StorageAck, stored: number): void {
    const { state } = this
    state.isFull = true
    const advanced = state.log.endWriteInPart(ack, stored)
    countOwnVote(state, ack.term)
    if (advanced) advanceCommit(state)
  }

  roomAgain(): void {
    this.state.isFull = false
  }

  setRoom(hasRoom: boolean): void {
    this.state.hasRoom = hasRoom
  }

  get room(): RaftRoom {
    return roomOf(this.state)
  }

  get roomierVoter(): string | undefined {
    const { state } = this
    return state.role === 'leader' && roomOf(state) !== 'enough' ? roomierVoter(state) : undefined
  }

  applied(index: number): void {
    const { state } = this
    assert(
      index > state.applied && index <= state.applying,
      `entry ${index} applied, but entries after ${state.applied} up to ${state.applying} were handed out`
    )
    state.applied = index
  }

  get oldestSnapshot(): number {
    return this.state.snapshot?.index ?? this.state.log.firstIndex - 1
  }

  get newestSnapshot(): number {
    return this.state.applying
  }

  snapshotMeta(index: number): SnapshotMeta {
    const { oldestSnapshot, newestSnapshot } = this
    const { log, configurations } = this.state
    assert(
      index >= oldestSnapshot && index <= newestSnapshot,
      `snapshot index ${index} is outside ${oldestSnapshot}..${newestSnapshot}`
    )
    return { index, term: log.termAt(index), configuration: configurations.entryAt(index) }
  }

  snapshotTaken(snapshot: SnapshotMeta): void {
    const { state } = this
    const { index } = snapshot
    assert(index <= state.applying, `snapshot index ${index} is beyond ${state.applying}, the last entry handed out`)
    // A newer snapshot was installed while the state machine took this one.
    if (index <= (state.snapshot?.index ?? 0)) return
    state.snapshot = snapshot
    state.configurations.compact(index)
  }

  pieceRead(wanted: PieceWanted, piece: { data: Uint8Array; crc: number; done: boolean } | undefined): void {
    pieceRead(this.state, wanted, piece)
  }

  pieceStored(piece: PieceReceived): void {
    pieceStored(this.state, piece)
  }

  snapshotInstalled(snapshot: SnapshotMeta): void {
    snapshotInstalled(this.state, snapshot)
  }

  snapshotRefused(snapshot: SnapshotMeta): void {
    snapshotRefused(this.state, snapshot)
  }
}
