import { assert, type RaftMessage } from '@quire/protocol'
import { ConfigurationHistory, isVoter, members } from './configuration.js'
import { LogView } from './log-view.js'
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
  Role,
  SnapshotMeta
} from './types.js'

/** Follower: a snapshot that arrives in pieces. */
export interface IncomingSnapshot {
  readonly snapshot: SnapshotMeta
  /** Everything before is stored. */
  offset: number
}

/** Everything a core knows; the modules around it are the rules that change it. */
export class CoreState {
  readonly id: string
  readonly log: LogView
  readonly configurations = new ConfigurationHistory()
  term: number
  vote: string | undefined
  role: Role = 'follower'
  leader: string | undefined = undefined
  commit: number
  applied: number
  /** Last entry that was handed out to be applied. */
  applying: number
  /** What is to be applied next cannot be read from the log now. The next tick asks the log again. */
  unreadable = false
  /** The newest that the own state machine has. */
  snapshot: SnapshotMeta | undefined

  /** The application's disks can go on. */
  hasRoom = true
  /** Storage gave entries back: it is handed none until it has room again. */
  isFull = false

  electionElapsed = 0
  heartbeatElapsed = 0
  electionTimeout = 0
  votes = new Map<string, boolean>()

  // ---- leader
  progress = new Map<string, Progress>()
  readonly reads = new ReadRounds()
  /** The first entry of the own term. */
  termStart = 0
  /** Proposals that still count against the limit, oldest first. */
  proposals: { index: number; bytes: number }[] = []
  uncommittedBytes = 0
  transfer: { readonly to: string; elapsed: number } | undefined
  /** Election timeouts to let pass before leadership is offered to a voter with more room again. */
  handOverPause = 0
  /** The oldest write that is not durable, and for how many election timeouts it has been the oldest. */
  stalledWrite: { readonly write: number; timeouts: number } | undefined

  // ---- follower
  incomingSnapshot: IncomingSnapshot | undefined
  /** A piece that is being stored. It outlives `incomingSnapshot`: the store takes one at a time. */
  storing: PieceReceived | undefined
  /** All its pieces are stored. `begun`: the state machine is being replaced, and nothing else may happen to it. */
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
    // Only committed entries are applied, so what the state machine has is committed even if the hard state is older.
    this.commit = Math.max(hardState.commit, appliedIndex)
    this.applied = appliedIndex
    this.applying = appliedIndex
    this.resetElectionTimer()
  }

  /** A crash came between the two writes of an installation: the state machine is the snapshot, the log is still the old one. */
  private finishInstallation(snapshot: SnapshotMeta, appliedIndex: number): void {
    const { log } = this
    assert(
      snapshot.index >= log.firstIndex - 1 && snapshot.index <= appliedIndex,
      `snapshot ${snapshot.index}, applied ${appliedIndex}, the log is ${log.firstIndex}..${log.lastIndex}`
    )
    if (log.matches(snapshot.index, snapshot.term)) return
    // Its term may be newer than what was durable of the hard state.
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
   * A voter of the configuration in force, or of the one that an uncommitted one replaces: whoever was removed may be the only
   * one with the log to win, and to commit the removal (thesis §4.2.2).
   */
  get promotable(): boolean {
    return this.configurations.since(this.commit).some((each) => isVoter(each, this.id))
  }

  /** An own entry is committed, so everything before it is too, and known to be (§5.4.2, §8). */
  get committedInTerm(): boolean {
    return this.role === 'leader' && this.commit >= this.termStart
  }

  /** Other voters of the current configuration. */
  otherVoters(): string[] {
    const { voters, outgoing } = this.configuration
    return [...new Set([...voters, ...outgoing])].filter((id) => id !== this.id)
  }

  send(to: string, message: RaftMessage): void {
    this.messages.push({ to, message })
  }

  /** Sends when what is in memory now is durable. */
  sendAfterWrite(to: string, message: RaftMessage): void {
    this.messagesAfter.push({ to, message })
  }

  /** §5.2: each timeout is drawn anew, so that split votes do not repeat. */
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
      // A new leader sends its own snapshot, from the start.
      this.incomingSnapshot = undefined
    }
    this.role = 'follower'
    this.leader = leader
    this.resetVolatileState()
    this.resetElectionTimer()
  }

  /** Nothing of an earlier role may count in the next: votes, acknowledgements, reads. */
  resetVolatileState(): void {
    this.votes = new Map()
    this.progress = new Map()
    this.reads.clear()
    this.proposals = []
    this.uncommittedBytes = 0
    this.transfer = undefined
    this.handOverPause = 0
    this.stalledWrite = undefined
  }

  appendToLog(entry: Entry): void {
    this.log.append(entry)
    if (entry.kind !== 'config') return
    const isFirst = this.configurations.index === 0
    // §6: a configuration counts as soon as it is in the log, not only when it is committed.
    this.configurations.append(entry)
    if (isFirst) this.assertIdIsNew()
    if (this.role === 'leader') this.syncProgress()
  }

  /**
   * This node joins, and has just learned of a configuration for the first time. No configuration names a new node as a
   * voter before the node has something of the log, so this id has had another log, which is lost. The new log will pass
   * through all the configurations in which the id was a voter, and a majority of such nodes could elect a leader
   * without what they had acknowledged before.
   */
  assertIdIsNew(): void {
    const { index } = this.configurations
    const facts = `an id is never used again after its log is lost: ${this.id} joins, and is a voter of entry ${index}`
    assert(!isVoter(this.configuration, this.id), facts)
  }

  /** Leader: knows of everybody in the current configuration, and of nobody else. */
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
