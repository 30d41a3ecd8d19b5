import type { RaftConfiguration } from '@quire/protocol'
import type { Entry, RaftStatus, SnapshotMeta } from '@quire/raft'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { VoteInvariants } from './vote-invariants.js'
import { checksum } from './commands.js'
import type { LeaderTenure } from './leader-tenure.js'
import { LogWatch, type KnownEntry, type WatchedLog } from './log-watch.js'
import type { ObservedNode } from './observed-node.js'

type Members = Pick<RaftStatus, 'voters' | 'outgoing'>

/** A node as it was after the last event that touched it. */
interface Past {
  life: number
  term: number
  role: RaftStatus['role']
  commit: number
  members: Members
}

/**
 * Checks the guarantees of Raft (extended version, Figure 3) from outside, after every event at the nodes that the
 * event touched.
 *
 * These are election safety, leader completeness and state machine safety. It also checks that commit never goes back,
 * that a committed entry is on a majority's disks, that terms begin in order, and that applied sequences are prefixes
 * of one another.
 */
export class RaftInvariants {
  readonly log: LogWatch
  readonly votes: VoteInvariants
  /** Committed configurations, by index. The last is in force. */
  readonly configurations: { readonly index: number; readonly configuration: RaftConfiguration }[] = []
  private readonly past = new Map<string, Past>()
  private readonly leaders = new Map<number, string>()
  /** The state's hash after each entry, from the node that applied it first. */
  private readonly hashes: number[] = []

  constructor(
    private readonly nodes: ReadonlyMap<string, ObservedNode>,
    private readonly coverage: Coverage,
    private readonly tenure: LeaderTenure
  ) {
    this.log = new LogWatch(coverage)
    this.votes = new VoteInvariants(nodes)
  }

  get commitIndex(): number {
    return this.log.commitIndex
  }

  /** The newest committed configuration. */
  get configuration(): RaftConfiguration | undefined {
    return this.configurations.at(-1)?.configuration
  }

  leaderOf(term: number): string | undefined {
    return this.leaders.get(term)
  }

  check(node: ObservedNode): void {
    const { status, name, life } = node
    if (status === undefined) return
    let past = this.past.get(name)
    if (past?.life !== life) {
      past = { life, term: node.watched.hardState.term, role: 'follower', commit: 0, members: status }
      this.past.set(name, past)
    }
    const { term, role, commitIndex } = status
    if (term !== past.term) this.checkTerm(node, status, past)
    if (role === 'leader' && (past.role !== 'leader' || term !== past.term)) this.checkElection(node, status)
    if (commitIndex < past.commit)
      throw new Violation('commit goes forward', `${name}: ${past.commit} -> ${commitIndex}`)
    for (let index = this.commitIndex + 1; index <= commitIndex; index++) this.commit(index, status, past.members)
    if (role === 'leader' && !node.isClosing) this.tenure.check(status)
    past.term = term
    past.role = role
    past.commit = commitIndex
    past.members = status
  }

  private checkTerm(node: ObservedNode, { term, role }: RaftStatus, past: Past): void {
    if (term < past.term) throw new Violation('terms rise', `${node.name}: ${past.term} -> ${term}`)
    // A candidate begins its term. All other nodes have heard of it.
    if (role === 'candidate' || (role === 'leader' && past.role !== 'candidate')) {
      this.votes.checkBegun(node, term, past.members)
    } else if (!this.votes.isBegun(term)) {
      throw new Violation('pre-vote raises no term', `${node.name} is in term ${term}, in which nobody stood`)
    }
  }

  private checkElection(node: ObservedNode, status: RaftStatus): void {
    const { name, watched } = node
    const { term, lastIndex } = status
    const other = this.leaders.get(term)
    if (other !== undefined && other !== name) {
      throw new Violation('election safety', `${other} and ${name} both lead term ${term}`)
    }
    if (other === undefined) this.coverage.add('elections')
    this.leaders.set(term, name)
    this.votes.checkElected(node, status)
    // A leader of the past may learn only now that it was elected. It owes nothing to later terms.
    const { committed } = this.log
    let index = this.commitIndex
    while (index > 0 && committed[index]!.inTerm >= term) index--
    // The log with which it stood may be newer than its disk, which can be full.
    const stood = this.votes.logOf(name, term)
    const held = stood === undefined ? watched.entries[index]?.term : this.log.termIn(stood, index)
    const last = stood?.lastIndex ?? lastIndex
    if (last < index || (held !== undefined && held !== committed[index]!.term)) {
      throw new Violation('leader completeness', `${name} leads term ${term} without entry ${index}`)
    }
  }

  /**
   * A node says that this entry is committed. It counts a majority of the configuration before the event or after it.
   */
  private commit(index: number, status: RaftStatus, before: Members): void {
    const known = this.held(index, status) ?? this.held(index, before)
    if (known === undefined && index > 1) {
      const logs = [...this.nodes.values()].map(
        ({ name, watched }) => `${name} ${watched.entries[index]?.term ?? 'none'}`
      )
      const voters = `${status.voters.join(' ')}${status.outgoing.length > 0 ? ` and ${status.outgoing.join(' ')}` : ''}`
      throw new Violation(
        'committed is durable',
        `${status.id} commits entry ${index} in term ${status.term}, terms on disks: ${logs.join(', ')}; voters ${voters}`
      )
    }
    // The founding configuration is committed by definition: every voter starts with it.
    const entry = known ?? this.log.find(1, 1)!
    // §5.4.2: a leader commits entries of earlier terms only together with an entry of its own term.
    if (index === status.commitIndex && index > 1 && entry.term !== status.term) {
      const facts = `${status.id} commits entry ${index} of term ${entry.term} in term ${status.term}`
      throw new Violation('an earlier term is not committed by counting', facts)
    }
    this.log.committed.push({ ...entry, inTerm: status.term })
    if (entry.configuration !== undefined) this.changed(index, entry.configuration)
  }

  /** Returns the entry that is on the disks of each required majority. */
  private held(index: number, { voters, outgoing }: Members): KnownEntry | undefined {
    for (const voter of voters) {
      const term = this.nodes.get(voter)?.watched.entries[index]?.term
      if (term === undefined || !this.isOnMajority(index, term, voters)) continue
      if (outgoing.length > 0 && !this.isOnMajority(index, term, outgoing)) continue
      return this.log.find(index, term)
    }
    return undefined
  }

  private isOnMajority(index: number, term: number, voters: readonly string[]): boolean {
    let count = 0
    for (const voter of voters) if (this.nodes.get(voter)?.watched.entries[index]?.term === term) count++
    return count * 2 > voters.length
  }

  private changed(index: number, configuration: RaftConfiguration): void {
    const before = this.configuration
    this.configurations.push({ index, configuration })
    if (before === undefined) return
    const { coverage } = this
    const { voters, learners, outgoing } = configuration
    if (outgoing.length > 0) coverage.add('joint configurations')
    else coverage.add('configuration changes')
    for (const voter of voters) if (before.learners.includes(voter)) coverage.add('learners promoted')
    for (const learner of learners) if (before.voters.includes(learner)) coverage.add('voters demoted')
  }

  // ---- what is applied

  applied(name: string, entry: Entry, hash: number): void {
    const committed = this.log.committed[entry.index]
    if (committed !== undefined && (committed.term !== entry.term || committed.crc !== checksum(entry))) {
      const facts = `${name} applies another entry ${entry.index}: terms ${entry.term} and ${committed.term}`
      throw new Violation('state machine safety', facts)
    }
    this.checkHash(name, entry.index, hash)
  }

  /** Called after the event, when its commits are known. */
  checkApplied(node: ObservedNode, appliedIndex: number): void {
    if (appliedIndex > this.commitIndex) {
      throw new Violation(
        'only what is committed is applied',
        `${node.name}: ${appliedIndex}, committed ${this.commitIndex}`
      )
    }
  }

  installed(name: string, meta: SnapshotMeta, hash: number): void {
    this.checkSnapshot(name, meta)
    this.checkHash(name, meta.index, hash)
  }

  private checkHash(name: string, index: number, hash: number): void {
    const known = this.hashes[index]
    if (known === undefined) this.hashes[index] = hash
    else if (known !== hash) {
      throw new Violation('applied sequences are prefixes', `${name} differs from others after entry ${index}`)
    }
  }

  /** A snapshot names its last entry and the configuration that is in force there (§7). */
  checkSnapshot(name: string, { index, term, configuration }: SnapshotMeta): void {
    const committed = this.log.committed[index]
    if (committed?.term !== term) {
      const facts = `${name}: entry ${index} of term ${term}, committed is term ${committed?.term}`
      throw new Violation('snapshots hold what is committed', facts)
    }
    const inForce = this.configurations.findLast((each) => each.index <= index)
    if (
      configuration.index !== inForce?.index ||
      this.log.committed[configuration.index]!.crc !== checksum(configuration)
    ) {
      const facts = `${name}: snapshot ${index} names configuration ${configuration.index}, in force is ${inForce?.index}`
      throw new Violation('snapshots name the configuration', facts)
    }
  }

  /**
   * Before a leader knows what is committed, there may be a configuration that it does not see (the bug of 2015). From
   * a committed joint configuration, all ways lead to the same next one.
   */
  checkProposed({ name, watched, status }: ObservedNode, entries: readonly Entry[]): void {
    const isJoint = (this.past.get(name)?.members.outgoing.length ?? 0) > 0
    if (status?.role !== 'leader' || isJoint) return
    for (const { kind, index, term } of entries) {
      const committed = (this.log.committed[status.commitIndex] ?? watched.entries[status.commitIndex])?.term
      if (kind !== 'config' || term !== status.term || committed === undefined || committed === term) continue
      const facts = `${name} changes members at ${index} in term ${term}; it has committed up to term ${committed}`
      throw new Violation('no change before the own term', facts)
    }
  }

  /** At most one change is uncommitted. This sees a second one when it is written. */
  checkConfigurations(name: string, watched: WatchedLog): void {
    const { entries } = watched
    const open: number[] = []
    for (let index = entries.length - 1; index > this.commitIndex; index--) {
      if (entries[index]!.configuration !== undefined) open.push(index)
    }
    if (open.length > 1) {
      throw new Violation('one change at a time', `${name} has uncommitted configurations at ${open.join(' and ')}`)
    }
  }
}
