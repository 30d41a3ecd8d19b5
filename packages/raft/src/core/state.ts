import { assert, type RaftMessage } from '@quire/protocol'
import { ConfigurationHistory, members } from './configuration.js'
import { LogView } from './log-view.js'
import type { Progress } from './progress.js'
import { ReadRounds } from './read-index.js'
import type { Entry, Outgoing, RaftCoreInit, ReadState, Role } from './types.js'

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

  electionElapsed = 0
  heartbeatElapsed = 0
  electionTimeout = 0
  votes = new Map<string, boolean>()
  progress = new Map<string, Progress>()
  readonly reads = new ReadRounds()
  /** Leader: proposals that still count against the limit, oldest first. */
  proposals: { index: number; bytes: number }[] = []
  uncommittedBytes = 0

  messages: Outgoing[] = []
  messagesAfter: Outgoing[] = []
  readStates: ReadState[] = []

  constructor(readonly init: RaftCoreInit) {
    const { id, log, hardState, appliedIndex } = init
    this.id = id
    this.log = new LogView(log)
    for (const entry of init.configurations) this.configurations.append(entry)
    this.term = hardState.term
    this.vote = hardState.vote
    assert(hardState.commit <= log.lastIndex, `commit ${hardState.commit} is beyond the log's end ${log.lastIndex}`)
    assert(appliedIndex <= log.lastIndex, `applied ${appliedIndex} is beyond the log's end ${log.lastIndex}`)
    assert(this.log.lastTerm <= this.term, `the log's last term ${this.log.lastTerm} is above ${this.term}`)
    // Only committed entries are applied, so what the state machine has is committed even if the hard state is older.
    this.commit = Math.max(hardState.commit, appliedIndex)
    this.applied = appliedIndex
    this.applying = appliedIndex
    this.resetElectionTimer()
  }

  get isVoter(): boolean {
    return this.configurations.current.voters.includes(this.id)
  }

  /** An own entry is committed, so everything before it is too, and known to be (§5.4.2, §8). */
  get committedInTerm(): boolean {
    return this.role === 'leader' && this.log.term(this.commit) === this.term
  }

  /** Other nodes of the current configuration. */
  others(): string[] {
    return members(this.configurations.current).filter((id) => id !== this.id)
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
    }
    this.role = 'follower'
    this.leader = leader
    this.forgetVolatile()
    this.resetElectionTimer()
  }

  /** Nothing of an earlier role may count in the next: votes, acknowledgements, reads. */
  forgetVolatile(): void {
    this.votes = new Map()
    this.progress = new Map()
    this.reads.clear()
    this.proposals = []
    this.uncommittedBytes = 0
  }

  appendToLog(entry: Entry): void {
    this.log.append(entry)
    if (entry.kind === 'config') this.configurations.append(entry)
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
