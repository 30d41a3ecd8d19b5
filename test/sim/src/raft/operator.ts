import type { MembershipChange, RaftNode, RaftStatus } from '@quire/raft'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import type { RaftInvariants } from './invariants.js'
import type { SimNode } from './node.js'
import type { EventKind } from './schedule.js'
import type { RaftSettings } from './settings.js'
import { encodeTick } from './ticks.js'
import { transferLeadership } from './transfer.js'
import type { LivenessWatch } from './liveness-watch.js'

interface OperatorWorld {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly settings: RaftSettings
  readonly nodes: readonly SimNode[]
  readonly invariants: RaftInvariants
  readonly liveness: LivenessWatch
  readonly leader: () => SimNode | undefined
  readonly onError: (error: Error) => void
}

type Members = Pick<RaftStatus, 'voters' | 'learners' | 'outgoing'>
type Proposed = ReturnType<RaftNode['changeMembership']>
type Plan = (members: Members) => readonly MembershipChange[] | undefined

const MAX_VOTERS = 8
const RETRY_MS = 80
const ATTEMPTS = 8
/** Errors of `changeMembership` after which the operator tries again. */
const LATER = ['NotLeaderError', 'ChangePendingError', 'BackPressureError']

/**
 * Operates the cluster: changes its members, moves leadership, replaces lost nodes.
 *
 * It never removes more disks than Raft can tolerate.
 */
export class Operator {
  /** Nodes that were wiped and are not voters again yet. */
  private readonly returning = new Set<SimNode>()
  /** Nodes to be removed, wiped and brought back although nothing is wrong with them. */
  private readonly retiring = new Set<SimNode>()
  /** Proposed changes that are undecided, as far as `isChanging` has looked. */
  private open: readonly Proposed[] = []
  private stopped = false

  constructor(private readonly world: OperatorWorld) {}

  /** No node is lost, and every wiped node is a voter again. */
  get isDone(): boolean {
    return this.returning.size === 0 && this.retiring.size === 0 && this.world.nodes.every(({ isLost }) => !isLost)
  }

  describe(): string {
    const lost = this.world.nodes.filter(({ isLost }) => isLost)
    const names = (nodes: Iterable<SimNode>): string => [...nodes].map(({ name }) => name).join(' ') || 'none'
    return `lost: ${names(lost)}, retiring: ${names(this.retiring)}, returning: ${names(this.returning)}`
  }

  /** Finishes the operations under way, and starts no others. */
  stop(): void {
    this.stopped = true
  }

  /** Replaces lost nodes from now on. */
  watch(): void {
    this.world.scheduler.after(RETRY_MS, 'operator', () => {
      for (const node of this.world.nodes) this.care(node)
      this.watch()
    })
  }

  begin(kind: EventKind, random: RandomSource): void {
    switch (kind) {
      case 'transfer':
        return this.transfer(this.world.leader(), random.is(0.3) ? undefined : random.pick(this.world.nodes).name)
      case 'transferToNobody':
        return this.transfer(random.pick(this.world.nodes), 'n9')
      case 'senseless':
        return this.changeSenselessly(random)
      case 'wipe':
        return this.retire(random)
      case 'retime':
        return this.retime(random)
      case 'addLearner':
      case 'promote':
      case 'demote':
      case 'remove':
      case 'replace': {
        const plan = this.plan(kind, random)
        return this.attempt(plan, ATTEMPTS)
      }
      default:
        throw new Error(`${kind} is no operation`)
    }
  }

  /**
   * Proposes one reasonable change after another until a leader takes one. For the end of a seed, when nothing stands
   * in its way.
   */
  changeSomething(): Proposed | undefined {
    const status = this.world.leader()?.status
    if (status === undefined) return undefined
    const { voters, learners } = status
    const spare = learners[0]
    const change: MembershipChange =
      spare !== undefined
        ? { type: 'voter', id: spare }
        : { type: 'learner', id: voters.find((id) => id !== status.id) ?? status.id }
    return this.tryNow(() => [change])
  }

  /**
   * Whether this node's disk may go bad. An id whose log is lost is never a voter again, so every configuration that
   * may come into force must keep a majority of voters with whole logs. This checks the committed configuration, which
   * is the only one while no change is open. `isSafe` checks each later one before it is proposed.
   */
  mayLose(node: SimNode): boolean {
    const { nodes, invariants } = this.world
    const { configuration } = invariants
    if (configuration === undefined || configuration.outgoing.length > 0 || !node.exists) return false
    if (this.retiring.size > 0 || this.returning.size > 0 || nodes.some(({ isLost }) => isLost)) return false
    if (this.isChanging()) return false
    const { voters } = configuration
    const left = nodes.filter((each) => each !== node && voters.includes(each.name) && hasWholeLog(each))
    return !voters.includes(node.name) || left.length * 2 > voters.length
  }

  /**
   * A proposed change is not committed yet and still may be. It can be in a log, in the memory of a leader whose disk
   * is slow or full, or in a message that outlives its sender, so this does not search for it. The change is decided
   * when an entry is committed at its index, or an entry of a later term before it: unless the change is that entry, a
   * log that has it lacks a committed entry, and no node is elected with such a log.
   *
   * The operator does not propose the entry that leaves a joint configuration. Until that entry is committed, the
   * committed configuration is the joint one.
   */
  private isChanging(): boolean {
    const { commitIndex, log } = this.world.invariants
    const { term } = log.committed[commitIndex]!
    this.open = this.open.filter((change) => change.index > commitIndex && change.term >= term)
    return this.open.length > 0
  }

  // ---- changes

  private plan(kind: EventKind, random: RandomSource): Plan {
    return ({ voters, learners, outgoing }) => {
      const outside = this.world.nodes.filter((node) => {
        const isInside = [voters, learners, outgoing].some((list) => list.includes(node.name))
        return !isInside && !node.isLost && !this.retiring.has(node) && !this.returning.has(node)
      })
      const pickOutside = (): SimNode | undefined => (outside.length > 0 ? random.pick(outside) : undefined)
      switch (kind) {
        case 'addLearner': {
          const node = pickOutside()
          if (node === undefined) return undefined
          this.join(node)
          return [{ type: 'learner', id: node.name }]
        }
        case 'promote':
          return learners.length > 0 ? [{ type: 'voter', id: random.pick(learners) }] : undefined
        case 'demote':
          return [{ type: 'learner', id: random.pick(voters) }]
        case 'remove':
          return [{ type: 'removed', id: random.pick([...voters, ...learners]) }]
        default: {
          const changes: MembershipChange[] = []
          for (const id of [...voters, ...learners]) {
            const type = voters.includes(id) ? random.pick(['removed', 'learner'] as const) : 'voter'
            if (random.is(type === 'voter' ? 0.8 : 0.35)) changes.push({ type, id })
          }
          for (const node of outside) {
            if (!random.is(0.5)) continue
            this.join(node)
            changes.push({ type: 'learner', id: node.name })
          }
          return changes
        }
      }
    }
  }

  private attempt(plan: Plan, attempts: number): void {
    if (this.stopped || attempts === 0) return
    if (this.tryNow(plan) !== undefined) return
    this.world.scheduler.after(RETRY_MS, 'operator tries again', () => this.attempt(plan, attempts - 1))
  }

  /** Returns undefined if the leader did not take it. A change that makes no sense counts as done. */
  private tryNow(plan: Plan): Proposed | undefined {
    const leader = this.world.leader()
    let proposed: Proposed | undefined
    leader?.call(`${leader.name} changes members`, (node) => {
      const status = node.status()
      if (status.role !== 'leader') return
      const changes = plan(status)
      if (changes === undefined || !this.isSafe(status, changes)) {
        proposed = { index: 0, term: 0 }
        return
      }
      proposed = this.propose(leader, node, changes)
    })
    return proposed
  }

  private propose(
    leader: SimNode,
    node: RaftNode,
    changes: readonly MembershipChange[],
    context?: Uint8Array
  ): Proposed | undefined {
    try {
      const proposed = node.changeMembership(changes, context)
      this.open = [...this.open, proposed]
      this.world.coverage.add(context === undefined ? 'changes proposed' : 'changes of ticks proposed')
      this.world.scheduler.hash.number(proposed.index)
      return proposed
    } catch (error) {
      const { name, message } = error as Error
      this.world.coverage.add(`changes refused: ${name}`)
      // A new leader learns only gradually which nodes have something of the log.
      if (LATER.includes(name) || message.includes('has nothing of the log yet')) return undefined
      this.world.onError(new Violation('changes that make sense are taken', `${leader.name}: ${message}`))
      return undefined
    }
  }

  /** The change has an effect, and leaves a majority of voters that run and have whole logs. */
  private isSafe({ voters, learners }: Members, changes: readonly MembershipChange[]): boolean {
    const now = new Set(voters)
    let changesSomething = false
    for (const { type, id } of changes) {
      changesSomething ||= type === 'voter' ? !voters.includes(id) : type === 'learner' ? !learners.includes(id) : true
      if (type === 'voter') now.add(id)
      else now.delete(id)
    }
    const good = this.world.nodes.filter((node) => now.has(node.name) && node.isUp && hasWholeLog(node))
    return changesSomething && now.size > 0 && now.size <= MAX_VOTERS && good.length * 2 > now.size
  }

  /** Changes the length of ticks for all nodes. */
  private retime(random: RandomSource): void {
    const { slowestTicks } = this.world.settings
    this.tickEvery(random.pick([1, (1 + slowestTicks) / 2, slowestTicks]))
  }

  /** Proposes ticks that are `factor` times as long as those that the cluster was founded with. */
  tickEvery(factor: number): Proposed | undefined {
    const leader = this.world.leader()
    const context = encodeTick(this.world.settings.tickMs * factor)
    let proposed: Proposed | undefined
    leader?.call(`${leader.name} changes ticks`, (node) => {
      if (node.status().role === 'leader') proposed = this.propose(leader, node, [], context)
    })
    return proposed
  }

  private changeSenselessly(random: RandomSource): void {
    const leader = this.world.leader()
    leader?.call(`${leader.name} is asked for nonsense`, (node) => {
      const { role, voters } = node.status()
      if (role !== 'leader') return
      const id = voters[0]!
      const changes: readonly MembershipChange[] = random.pick([
        [{ type: 'voter' as const, id }],
        voters.map((each) => ({ type: 'removed' as const, id: each })),
        [
          { type: 'learner', id },
          { type: 'voter' as const, id }
        ],
        // A node with an empty log votes for nobody, so a majority might never form.
        [{ type: 'voter', id: 'n9' }],
        []
      ])
      try {
        node.changeMembership(changes)
      } catch (error) {
        if ((error as Error).name === 'InvalidArgumentError' || LATER.includes((error as Error).name)) return
      }
      this.world.onError(new Violation('nonsense is refused', `${leader.name} took ${JSON.stringify(changes)}`))
    })
  }

  /** Starts a node from outside the cluster, with an empty log unless it still has one. */
  private join(node: SimNode): void {
    if (node.isUp) return
    if (!node.exists) node.creation = { join: true }
    node.start()
  }

  transfer(from: SimNode | undefined, to: string | undefined): void {
    transferLeadership(this.world, from, to)
  }

  // ---- lost disks

  private retire(random: RandomSource): void {
    const { nodes, invariants } = this.world
    const candidates = nodes.filter(
      (node) => node.isUp && invariants.configuration?.voters.includes(node.name) === true
    )
    if (candidates.length === 0) return
    const node = random.pick(candidates)
    if (this.mayLose(node)) this.retiring.add(node)
  }

  /**
   * Removes a node, wipes it, adds it as a learner under a new name, and promotes it. Each step waits until the one
   * before is committed.
   */
  private care(node: SimNode): void {
    const { invariants, coverage } = this.world
    const { configuration } = invariants
    if (configuration === undefined) return
    const { voters, learners, outgoing, learnersNext } = configuration
    const isMember = [voters, learners, outgoing, learnersNext].some((list) => list.includes(node.name))
    if (node.isLost || this.retiring.has(node)) {
      if (isMember) {
        // Other voters may have left meanwhile.
        if (voters.length === 1 && !node.isLost) this.retiring.delete(node)
        this.tryNow((members) => (isIn(members, node.name) ? [{ type: 'removed', id: node.name }] : undefined))
        return
      }
      // The next configuration may bring it back.
      if (!this.isChanging()) this.replaceDisk(node)
      return
    }
    if (!this.returning.has(node) || !node.isUp) return
    if (voters.includes(node.name)) {
      this.returning.delete(node)
      coverage.add('wiped nodes that are voters again')
    } else if (!isMember) {
      this.tryNow(() => [{ type: 'learner', id: node.name }])
    } else if (learners.includes(node.name) && (node.application?.appliedIndex ?? 0) + 5 >= invariants.commitIndex) {
      this.tryNow((members) => (members.learners.includes(node.name) ? [{ type: 'voter', id: node.name }] : undefined))
    }
  }

  private replaceDisk(node: SimNode): void {
    if (node.isUp) node.crash()
    this.world.coverage.add('disks replaced')
    node.wipe({ join: true })
    this.retiring.delete(node)
    this.returning.add(node)
    node.start()
  }
}

/** A voter with an empty log votes for nobody. */
function hasWholeLog({ isLost, watched }: SimNode): boolean {
  return !isLost && watched.lastIndex > 0
}

function isIn({ voters, learners, outgoing }: Members, name: string): boolean {
  return voters.includes(name) || learners.includes(name) || outgoing.includes(name)
}
