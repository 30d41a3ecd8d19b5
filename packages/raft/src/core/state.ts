import { assert, type RaftMessage } from '@quire/protocol'
import { ConfigurationHistory, isVoter, members } from './configuration.js'
import { LogView } from './log-view.js'
import { PendingBytes } from './pending-bytes.js'
import { Progress } from './progress.js'
import { ReadRounds } from './read-index.js'
import type {
  Entry,
  FullConfiguration,
  Outgoing,
  PieceReceived,
  PieceWanted,
  RaftCoreInit,
  ReadState,
  CoreRole,
  SnapshotMeta
} from './types.js'

/** Follower: a snapshot of which pieces still arrive. */
export interface IncomingSnapshot {
  readonly snapshot: SnapshotMeta
  /** Every byte below this offset is stored. */
  offset: number
}

/**
 * Holds everything that a core knows.
 *
 * The modules around it are the rules that change it. The transitions here check their invariants.
 */
export class CoreState {
  readonly id: string
  readonly log: LogView
  readonly configurations = new ConfigurationHistory()
  term: number
  vote: string | undefined
  role: CoreRole = 'follower'
  leader: string | undefined = undefined
  commit: number
  applied: number
  /** The last entry that `ready` handed out to be applied. */
  applying: number
  /** Storage could not read the next entries to apply. The next tick tries again. */
  unreadable = false
  /** The newest durable snapshot of this node's state machine. */
  snapshot: SnapshotMeta | undefined

  /** False when the application has said that its disks are running out of room. */
  hasRoom = true
  /** Storage gave entries back for lack of room: it is handed no more entries until it has room again. */
  isFull = false

  electionElapsed = 0
  heartbeatElapsed = 0
  electionTimeout = 0
  votes = new Map<string, boolean>()

  // ---- leader
  progress = new Map<string, Progress>()
  readonly reads = new ReadRounds()
  /** Index of the first entry of this leader's term. */
  termStart = 0
  /** Proposals that count against `maxUncommittedBytes`. */
  readonly uncommitted = new PendingBytes()
  transfer: { readonly to: string; elapsed: number } | undefined
  /** Election timeouts that must pass before this leader offers leadership to a voter with more room again. */
  handOverPause = 0
  /**
   * The oldest write that is not durable yet, with the number of election timeouts for which it has been the oldest.
   */
  stalledWrite: { readonly write: number; timeouts: number } | undefined
  /** The commit index at the last check of the quorum, and at the one before. */
  checkedCommit = Infinity
  caughtUpIndex = Infinity

  // ---- follower
  incomingSnapshot: IncomingSnapshot | undefined
  /**
   * The piece that the snapshot store is writing. It outlives `incomingSnapshot`, because the store takes one piece at
   * a time.
   */
  storing: PieceReceived | undefined
  /** A complete snapshot. Once the installation has `begun`, nothing else may happen to the state machine. */
  installing: { readonly snapshot: SnapshotMeta; begun: boolean } | undefined

  // ---- what `ready` hands out
  messages: Outgoing[] = []
  messagesAfter: Outgoing[] = []
  readStates: ReadState[] = []
  piecesWanted: PieceWanted[] = []
  pieceReceived: PieceReceived | undefined

  constructor(readonly init: RaftCoreInit) {
    const { id, log, hardState, appliedIndex, snapshot } = init
    this.id = id
    this.log = new LogView(log)
    for (const entry of init.configurations) this.configurations.append(entry)
    this.term = hardState.term
    this.vote = hardState.vote
    this.snapshot = snapshot
    assert(hardState.commit <= log.lastIndex, `commit ${hardState.commit} is beyond the log's end ${log.lastIndex}`)
    assert(this.log.lastTerm <= this.term, `the log's last term ${this.log.lastTerm} is above ${this.term}`)
    if (snapshot !== undefined) this.finishInstallation(snapshot, appliedIndex)
    const { firstIndex, lastIndex } = this.log
    assert(
      appliedIndex >= firstIndex - 1 && appliedIndex <= lastIndex,
      `applied ${appliedIndex}, the log is ${firstIndex}..${lastIndex}`
    )
    // Only committed entries are applied, so the applied index is committed, even if the hard state is older.
    this.commit = Math.max(hardState.commit, appliedIndex)
    this.applied = appliedIndex
    this.applying = appliedIndex
    this.resetElectionTimer()
  }

  /**
   * Completes an installation that a crash interrupted: the state machine is the snapshot already, the log is still the
   * old one.
   */
  private finishInstallation(snapshot: SnapshotMeta, appliedIndex: number): void {
    const { log } = this
    assert(
      snapshot.index >= log.firstIndex - 1 && snapshot.index <= appliedIndex,
      `snapshot ${snapshot.index}, applied ${appliedIndex}, the log is ${log.firstIndex}..${log.lastIndex}`
    )
    if (log.matches(snapshot.index, snapshot.term)) return
    // The snapshot's term may be newer than the last hard state that became durable.
    if (snapshot.term > this.term) {
      this.term = snapshot.term
      this.vote = undefined
    }
    log.reset(snapshot)
    this.configurations.reset(snapshot.configuration)
  }

  get configuration(): FullConfiguration {
    return this.configurations.current
  }

  /**
   * Whether this node may start an election: it is a voter of the configuration in force, or of one that an uncommitted
   * configuration replaces. A removed voter may be the only node whose log can win, and it then has to commit its own
   * removal (thesis §4.2.2).
   */
  get promotable(): boolean {
    return this.configurations.since(this.commit).some((each) => isVoter(each, this.id))
  }

  /** Leader: an entry of its own term is committed, and therefore every entry before it (§5.4.2, §8). */
  get committedInTerm(): boolean {
    return this.role === 'leader' && this.commit >= this.termStart
  }

  /** The other voters of the current configuration, the outgoing ones included. */
  otherVoters(): string[] {
    const { voters, outgoing } = this.configuration
    return [...new Set([...voters, ...outgoing])].filter((id) => id !== this.id)
  }

  send(to: string, message: RaftMessage): void {
    this.messages.push({ to, message })
  }

  /** Sends `message` once everything that is in memory now is durable. */
  sendAfterWrite(to: string, message: RaftMessage): void {
    this.messagesAfter.push({ to, message })
  }

  /** Draws a new timeout for each wait, so that split votes do not repeat (§5.2). */
  resetElectionTimer(): void {
    const { electionTicks, random } = this.init
    this.electionElapsed = 0
    this.electionTimeout = electionTicks + Math.floor(random() * electionTicks)
  }

  becomeFollower(term: number, leader: string | undefined): void {
    assert(term >= this.term, `term went back: ${this.term} -> ${term}`)
    if (term > this.term) {
      this.term = term
      this.vote = undefined
      // The leader of the new term sends its own snapshot from the beginning.
      this.incomingSnapshot = undefined
    }
    this.role = 'follower'
    this.leader = leader
    this.resetVolatileState()
    this.resetElectionTimer()
  }

  /** Drops what belongs to one role in one term: votes, acknowledgments, reads. None of it may count in the next. */
  resetVolatileState(): void {
    this.votes = new Map()
    this.progress = new Map()
    this.reads.clear()
    this.uncommitted.clear()
    this.transfer = undefined
    this.handOverPause = 0
    this.stalledWrite = undefined
    this.checkedCommit = Infinity
    this.caughtUpIndex = Infinity
  }

  appendToLog(entry: Entry): void {
    this.log.append(entry)
    if (entry.kind !== 'config') return
    const isFirst = this.configurations.index === 0
    // §6: a configuration takes effect when it is in the log, committed or not.
    this.configurations.append(entry)
    if (isFirst) this.assertIdIsNew()
    if (this.role === 'leader') this.syncProgress()
  }

  /**
   * Called when a node that joins learns of its first configuration. A configuration names a new node as a voter only
   * after the node holds part of the log. So an id that this first configuration names as a voter has had another log,
   * which is lost. While the new log catches up, it passes through every configuration in which the id was a voter, and
   * a majority of such nodes could elect a leader that lacks what they acknowledged before.
   */
  assertIdIsNew(): void {
    const { index } = this.configurations
    const facts = `an id is never used again after its log is lost: ${this.id} joins, and is a voter of entry ${index}`
    assert(!isVoter(this.configuration, this.id), facts)
  }

  /** Leader: tracks the progress of exactly the other members of the current configuration. */
  syncProgress(): void {
    const wanted = members(this.configuration)
    wanted.delete(this.id)
    for (const id of this.progress.keys()) if (!wanted.has(id)) this.progress.delete(id)
    for (const id of wanted) if (!this.progress.has(id)) this.progress.set(id, new Progress(this.log.lastIndex))
  }

  truncateLog(index: number): void {
    assert(index > this.commit, `truncation at ${index} of what is committed up to ${this.commit}`)
    this.log.truncate(index)
    this.configurations.truncate(index)
  }

  commitTo(index: number): void {
    assert(index >= this.commit, `commit went back: ${this.commit} -> ${index}`)
    assert(index <= this.log.lastIndex, `commit ${index} is beyond the log's end ${this.log.lastIndex}`)
    this.commit = index
  }
}
