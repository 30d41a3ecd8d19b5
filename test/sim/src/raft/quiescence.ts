import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { quiescenceBounds } from './bounds.js'
import type { Clients } from './clients.js'
import { checkAgreement, checkBounds } from './end-invariants.js'
import type { RaftInvariants } from './invariants.js'
import type { LivenessWatch } from './liveness-watch.js'
import type { RaftNetwork } from './network.js'
import type { SimNode } from './node.js'
import type { Operator } from './operator.js'
import { RecentRoom } from './recent-room.js'
import type { RaftSettings } from './settings.js'

/**
 * Long enough for everything that was waiting: timeouts, elections, retries, snapshots, and lost nodes that come back.
 */
const REST_MS = 60_000
const WORK_MS = 10_000
/** The longest election timeout of peers in one place. If the timeout is longer, all waits are longer. */
const USUAL_TIMEOUT_MS = 2 * 8 * 40
/** The share of seeds that try it: a timeout is long, and nothing else happens in it. */
const SHARE_OF_FAILING = 0.2
const SHARE_OF_FULL = 0.3
/** Stands for the number of a fault. */
const QUIESCENCE = -1

/** The part of the simulation that its quiescence uses. */
export interface QuiescentRaft {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly settings: RaftSettings
  readonly network: RaftNetwork
  readonly nodes: readonly SimNode[]
  readonly byName: ReadonlyMap<string, SimNode>
  readonly invariants: RaftInvariants
  readonly liveness: LivenessWatch
  readonly clients: Clients
  readonly operator: Operator
  leader(): SimNode | undefined
  describe(): string
  runFor(ms: number): Promise<void>
  /** Runs until `done()`. Throws a violation of `invariant` if that takes longer than `ms`. */
  until(invariant: string, ms: number, done: () => boolean, facts?: () => string): Promise<void>
}

/**
 * Ends a seed without faults.
 *
 * All waits must settle, all nodes must agree, and all logs must be bounded.
 */
export class RaftQuiescence {
  constructor(
    private readonly sim: QuiescentRaft,
    private readonly random: RandomSource
  ) {}

  async run(): Promise<void> {
    const { sim } = this
    const from = sim.scheduler.now
    this.startAll()
    sim.clients.stop()
    await sim.until('liveness: clients are served', this.pace(REST_MS), () =>
      sim.clients.proposers.every(({ isIdle }) => isIdle)
    )
    await sim.until(
      'liveness: what is lost comes back',
      this.pace(REST_MS),
      () => sim.operator.isDone && this.isWhole()
    )
    await this.tickAsFounded()
    await this.settle(from)
    // A leader that is no longer a voter steps down when that is committed (§6).
    await sim.until('a removed leader steps down', this.pace(WORK_MS), () => this.isWhole() && this.isLedByVoter())
    await this.failToTransfer()
    await this.transfer()
    await this.fillLeadersDisk()
    await this.fillAllDisks()
    await this.changeMembers()
    await this.read()
    await this.settle(sim.scheduler.now)
    await sim.until('liveness: all agree', this.pace(WORK_MS), () => this.isConverged())
    checkAgreement(sim, this.members())
    checkBounds(sim.settings, this.members())
  }

  /** Scales a wait by the timeouts of this cluster, and by the entries that nodes are behind now. */
  private pace(ms: number): number {
    const { tickMs, slowestTicks, electionTicks } = this.sim.settings
    const factor = Math.max(1, (2 * electionTicks * tickMs * slowestTicks) / USUAL_TIMEOUT_MS)
    return ms * factor + this.entriesBehind() * quiescenceBounds(this.sim.settings).entryMs
  }

  /** From the last entry that a node has or waits for, to the last that every node has applied. */
  private entriesBehind(): number {
    const { nodes } = this.sim
    const last = Math.max(...nodes.map(({ pending, status }) => Math.max(pending.lastIndex, status?.lastIndex ?? 0)))
    return last - Math.min(...nodes.map(({ status }) => status?.appliedIndex ?? 0))
  }

  /**
   * Timing belongs to the cluster, not to a node: every node that takes part must tick alike, whatever the operator has
   * changed.
   */
  private async tickAsFounded(): Promise<void> {
    const { sim } = this
    const { tickMs, slowestTicks } = sim.settings
    let proposed: { readonly index: number; readonly term: number } | undefined
    const isCommitted = (): boolean => {
      if (proposed === undefined || sim.invariants.commitIndex < proposed.index) return false
      if (sim.invariants.log.committed[proposed.index]!.term === proposed.term) return true
      proposed = undefined
      return false
    }
    if (slowestTicks > 1) {
      await sim.until('liveness: ticks are changed', this.pace(REST_MS), () => {
        proposed ??= sim.operator.tickEvery(1)
        return isCommitted()
      })
    }
    await sim.until('all tick alike', this.pace(REST_MS), () => {
      if (!this.isWhole()) return false
      return this.members().every(({ status }) => status?.tickMs === tickMs)
    })
  }

  private startAll(): void {
    for (const node of this.sim.nodes) if (!node.isUp && node.exists && !node.isLost) node.start()
  }

  /** There is a leader, all members are up and awake, and no change is under way. */
  private isWhole(): boolean {
    const { configuration, commitIndex } = this.sim.invariants
    const leader = this.sim.leader()?.status
    if (leader?.ready !== true || configuration === undefined || configuration.outgoing.length > 0) return false
    return (
      commitIndex > 0 &&
      this.members().every((node) => node.node !== undefined && !node.isClosing && node.process?.isAwake === true)
    )
  }

  private members(): SimNode[] {
    const { invariants, byName } = this.sim
    const { voters, learners } = invariants.configuration!
    return [...voters, ...learners].map((name) => byName.get(name)!)
  }

  /**
   * Waits until every call from before `before` has settled. New entries take the place of those that were truncated.
   */
  private async settle(before: number): Promise<void> {
    const { sim } = this
    const highest = (): number =>
      Math.max(0, ...sim.nodes.filter(({ isUp }) => isUp).map(({ pending }) => pending.lastIndex))
    await sim.until(
      'no call waits forever',
      this.pace(WORK_MS),
      () => {
        const leader = sim.leader()
        const last = leader?.status?.lastIndex ?? 0
        if (leader !== undefined && last < highest()) sim.clients.noise(leader, highest() - last, this.random)
        // Nodes that were removed get no more entries.
        return this.members().every(({ pending }) => pending.size === 0) && sim.liveness.pending(before).length === 0
      },
      () => `${sim.liveness.pending(before).join('; ')}; entries up to ${highest()}; ${sim.describe()}`
    )
  }

  private isLedByVoter(): boolean {
    const { invariants } = this.sim
    const leader = this.sim.leader()
    return leader !== undefined && invariants.configuration!.voters.includes(leader.name)
  }

  /**
   * Waits until all members have the same term and room, nothing is uncommitted, and the leader is a voter that knows
   * what all members have. A log looks for room once a second, and until then leadership may move. From then on only
   * the simulator can depose the leader. Before that, a higher term or an uncommitted change can, and a transfer may
   * then take longer (see TRANSFER_TIMEOUTS).
   */
  private async comeToRest(): Promise<SimNode> {
    const { sim } = this
    const isAtRest = (): boolean =>
      this.isConverged() && this.isLedByVoter() && this.members().every(({ status }) => status?.room === 'enough')
    await sim.until('liveness: all agree', this.pace(WORK_MS), isAtRest)
    await sim.runFor(quiescenceBounds(sim.settings).acknowledgedMs)
    return sim.leader()!
  }

  /**
   * A transfer to a node that is down or mute ends after an election timeout, and its leader goes on (thesis §3.10).
   */
  private async failToTransfer(): Promise<void> {
    const { sim } = this
    if (!this.random.is(SHARE_OF_FAILING)) return
    const leader = await this.comeToRest()
    const { term, voters } = leader.status!
    const others = voters.filter((name) => name !== leader.name)
    if (others.length < 2) return
    const target = sim.byName.get(this.random.pick(others))!
    const isMute = this.random.is(0.5)
    if (isMute) {
      // The target stands in a term of which the others hear only afterwards. They must accept it again.
      for (const { name } of sim.nodes) sim.network.cut(target.name, name, QUIESCENCE)
    } else {
      target.crash()
      target.isHeld = true
    }
    sim.operator.transfer(leader, target.name)
    const { failedTransferMs } = quiescenceBounds(sim.settings)
    await sim.until('a transfer that fails ends', failedTransferMs, () => sim.liveness.pending(Infinity).length === 0)
    const { role, term: termNow } = leader.status!
    if (role !== 'leader' || termNow !== term) {
      throw new Violation(
        'after a transfer that fails its leader goes on',
        `${leader.name} led ${term}: ${sim.describe()}`
      )
    }
    sim.coverage.add(isMute ? 'transfers to a mute node' : 'transfers to a node that is down')
    // Messages of the meantime must not arrive now.
    sim.network.heal()
    target.isHeld = false
    target.start()
    await sim.until('liveness: all agree', this.pace(WORK_MS), () => this.isConverged())
  }

  /** Leadership moves at once to a voter that has everything, before any node stands by itself (thesis §3.10). */
  private async transfer(): Promise<void> {
    const { sim } = this
    const leader = await this.comeToRest()
    const others = leader.status!.voters.filter((name) => name !== leader.name)
    if (others.length === 0) return
    const to = this.random.pick(others)
    sim.operator.transfer(leader, to)
    await sim.until('a transfer completes', quiescenceBounds(sim.settings).transferMs, () => sim.leader()?.name === to)
    await sim.until('a transfer completes', this.pace(WORK_MS), () => sim.liveness.pending(Infinity).length === 0)
  }

  /**
   * The leader's disk fills up, and the disks of the others do not. Leadership moves to one of them, once, and
   * proposals are committed.
   */
  private async fillLeadersDisk(): Promise<void> {
    const { sim } = this
    const first = sim.leader()!
    if (first.status!.voters.length < 3 || !this.random.is(SHARE_OF_FULL)) return
    await sim.until('liveness: all agree', this.pace(WORK_MS), () => this.isConverged())
    const elections = sim.coverage.get('elections')
    // Also when it drops entries that are in a snapshot.
    first.disk.fill(-Infinity)
    const before = sim.invariants.commitIndex
    await sim.until('a leader whose disk is full gives way', this.pace(WORK_MS), () => {
      const leader = sim.leader()
      // The proposals use up what the disk still has, and then show which node can go on.
      if (leader?.status?.ready === true && leader.pending.size === 0) sim.clients.noise(leader, 3, this.random)
      const isOther = leader !== undefined && leader !== first && sim.leader()?.status?.ready === true
      return isOther && sim.invariants.commitIndex > before + 3
    })
    sim.coverage.add('leaders that gave way for want of room')
    await this.expectNoElection(elections + 1, 'leadership stays where there is room')
    first.disk.makeRoom()
    await sim.until('liveness: all agree', this.pace(WORK_MS), () => this.isConverged())
    await this.expectNoElection(elections + 1, 'room that is back moves no leadership')
  }

  /** If no node has room, the leader stays. Proposals may wait, no node stops, and all goes on once there is room. */
  private async fillAllDisks(): Promise<void> {
    const { sim } = this
    const { electionTicks, tickMs } = sim.settings
    if (!this.random.is(SHARE_OF_FULL)) return
    for (const { disk } of sim.nodes) disk.fill(-Infinity)
    for (let i = 0; i < 20; i++) {
      const leader = sim.leader()
      if (leader !== undefined) sim.clients.noise(leader, 2, this.random)
      await sim.runFor(electionTicks * tickMs)
    }
    sim.coverage.add('clusters without room')
    await this.comeToRestWithoutRoom()
    await this.expectNoElection(sim.coverage.get('elections'), 'a leader stays where nobody has more room')
    for (const { disk } of sim.nodes) disk.makeRoom()
    await sim.until('liveness: all agree', this.pace(WORK_MS), () => this.isConverged())
  }

  /**
   * Full disks do not use up the rest of their files at the same time, so leadership still moves after the last
   * proposal. The leader looks once in an election timeout, and the first entry of its successor uses up room as well.
   * Room only shrinks here, so this ends with a leader that knows the others' room and hands over to none of them.
   * Waiting is not enough, because leadership that flaps uses up all room, and comes to rest then. So each move must
   * lead to more room than the leader before has.
   */
  private async comeToRestWithoutRoom(): Promise<void> {
    const { sim } = this
    const { roomKnownMs, handOverMs } = quiescenceBounds(sim.settings)
    const rooms = new RecentRoom(handOverMs)
    let last = sim.leader()
    let term: number | undefined
    let since = 0
    await sim.until('leadership comes to rest where nobody has room', this.pace(WORK_MS), () => {
      const { now } = sim.scheduler
      for (const { name, status } of sim.nodes) if (status !== undefined) rooms.note(name, status.room, now)
      const leader = sim.leader()
      if (last !== undefined && leader !== undefined && leader !== last) {
        if (rooms.most(leader.name) <= rooms.now(last.name)) {
          const facts = `${leader.name} follows ${last.name} without more room; ${sim.describe()}`
          throw new Violation('a leader stays where nobody has more room', facts)
        }
      }
      last = leader ?? last
      const staying = leader?.status?.handsOver === false ? leader.status.term : undefined
      if (staying !== term) since = now
      term = staying
      return term !== undefined && now - since > roomKnownMs
    })
  }

  private async expectNoElection(elections: number, invariant: string): Promise<void> {
    const { sim } = this
    const { electionTicks, tickMs } = sim.settings
    await sim.runFor(10 * electionTicks * tickMs)
    const now = sim.coverage.get('elections')
    if (now > elections) throw new Violation(invariant, `${now - elections} elections too many; ${sim.describe()}`)
  }

  private async changeMembers(): Promise<void> {
    const { sim } = this
    if (sim.invariants.configuration!.voters.length < 2 && sim.invariants.configuration!.learners.length === 0) return
    let proposed: { readonly index: number; readonly term: number } | undefined
    await sim.until('a change of members completes', this.pace(WORK_MS), () => {
      proposed ??= sim.operator.changeSomething()
      return proposed !== undefined && sim.invariants.commitIndex >= proposed.index
    })
    const { index, term } = proposed!
    if (sim.invariants.log.committed[index]!.term !== term) {
      throw new Violation('a change of members completes', `entry ${index} of term ${term} is not what was committed`)
    }
  }

  private async read(): Promise<void> {
    const { sim } = this
    const before = sim.coverage.get('read indexes')
    await sim.until('a read completes', this.pace(WORK_MS), () => {
      const leader = sim.leader()
      if (
        leader !== undefined &&
        sim.liveness.pending(Infinity).length === 0 &&
        sim.coverage.get('read indexes') === before
      ) {
        sim.clients.read(leader)
      }
      return sim.coverage.get('read indexes') > before
    })
  }

  private isConverged(): boolean {
    const { commitIndex } = this.sim.invariants
    const leader = this.sim.leader()?.status
    if (leader === undefined || leader.lastIndex !== commitIndex) return false
    return this.members().every(({ application, status, log, watched }) => {
      const isApplied = application?.appliedIndex === commitIndex && status?.lastIndex === commitIndex
      if (status?.term !== leader.term) return false
      // A slow disk may still be writing.
      return isApplied && log?.lastIndex === commitIndex && watched.inFlight.length === 0
    })
  }
}
