import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import type { RaftNetwork } from './network.js'
import type { SimNode } from './node.js'
import type { Operator } from './operator.js'
import type { InjectedEvent, EventKind } from './schedule.js'
import type { RaftSettings } from './settings.js'

interface FaultWorld {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly network: RaftNetwork
  readonly nodes: readonly SimNode[]
  readonly operator: Operator
  readonly settings: RaftSettings
  readonly leader: () => SimNode | undefined
  readonly restart: (node: SimNode, ms: number) => void
  readonly burst: (random: RandomSource) => void
}

/** Injects one fault, with a random source of its own. */
interface Fault {
  readonly number: number
  readonly random: RandomSource
  readonly node: SimNode
  readonly leader: SimNode
}

/**
 * Injects the numbered events of a seed.
 *
 * These are faults and operations.
 */
export class Faults {
  private stopped = false

  constructor(private readonly world: FaultWorld) {}

  /** Ends every fault, and injects no new one. */
  stop(): void {
    this.stopped = true
    const { network, nodes } = this.world
    network.heal()
    network.isNoisy = false
    for (const node of nodes) {
      node.diskFactor = 1
      node.disk.makeRoom()
      // An operation that was set to fail and has not yet would fail during quiescence.
      if (node.disk.mayFail || node.diskHangsUntil > this.world.scheduler.now) node.crash()
      node.diskHangsUntil = 0
      node.disk.onWrite = undefined
      node.snapshots.refusesNext = false
    }
  }

  inject({ number, kind }: InjectedEvent, random: RandomSource): void {
    if (this.stopped) return
    const up = this.world.nodes.filter(({ isUp }) => isUp)
    if (up.length === 0) return
    this.world.coverage.add(`event: ${kind}`)
    const node = random.pick(up)
    this.run(kind, { number, random, node, leader: this.world.leader() ?? node })
  }

  private run(kind: EventKind, fault: Fault): void {
    const { node, leader, random } = fault
    const { operator } = this.world
    switch (kind) {
      case 'crash':
        return this.crash(node, random)
      case 'crashLeader':
        return this.crash(leader, random)
      case 'crashInWrite':
        return this.crashInWrite(random.is(0.3) ? leader : node, random)
      case 'crashAll':
        for (const each of this.world.nodes) this.crash(each, random)
        return
      case 'close':
        return this.close(random.is(0.3) ? leader : node, random)
      case 'outage':
        node.crash()
        return this.world.restart(node, random.between(400, 1500))
      case 'stall':
        return node.process?.stall(random.exponential(this.electionMs))
      case 'stallLeader':
        return leader.process?.stall(random.exponential(this.electionMs * 1.5))
      case 'cutBothWays':
      case 'cutOneWay':
        return this.cutPair(fault, kind === 'cutBothWays')
      case 'isolateLeader':
        return this.isolate(fault, random.is(0.7), true)
      case 'deafenLeader':
        return this.isolate(fault, false, true)
      case 'split':
        return this.split(fault)
      case 'slowLink':
        return this.slowLink(fault)
      case 'slowDisk':
        return this.slowDisk(node, random)
      case 'failWrite':
        return node.disk.fail(random.pick(['write', 'write', 'write', 'create', 'rename', 'remove', 'flushDirectory']))
      case 'fullDisk':
        return this.fullDisk(node, random)
      case 'rot':
        return this.rot(fault)
      case 'dropSnapshot':
        for (const each of this.world.nodes) each.snapshots.dropOld()
        return
      case 'refuseInstall':
        node.snapshots.refusesNext = true
        return
      case 'transferAndCut':
        return this.transferAndCut(fault)
      case 'burst':
        return this.world.burst(random)
      default:
        return operator.begin(kind, random)
    }
  }

  private get electionMs(): number {
    return this.world.settings.electionTicks * this.world.settings.tickMs
  }

  // ---- processes

  private crash(node: SimNode, random: RandomSource): void {
    if (!node.isUp) return
    node.crash()
    this.world.restart(node, random.exponential(150))
  }

  private crashInWrite(node: SimNode, random: RandomSource): void {
    const ms = random.exponential(150)
    // Only a write of several sectors can be torn. A file whose first write is torn is not a segment yet.
    const minSectors = random.pick([1, 2, 2, 3, 4])
    const mayBeFirst = random.is(0.15)
    const isWanted = (offset: number, sectors: number): boolean => sectors >= minSectors && (offset > 0 || mayBeFirst)
    node.crashInWrite(isWanted, () => {
      if (this.stopped) return
      node.crash()
      this.world.restart(node, ms)
    })
  }

  private close(node: SimNode, random: RandomSource): void {
    const ms = random.exponential(100)
    void node.close().then(() => this.world.restart(node, ms))
  }

  // ---- links

  private cutPair({ number, random, node }: Fault, isWhole: boolean): void {
    const other = random.pick(this.world.nodes.filter((each) => each !== node))
    const ms = this.outageMs(random)
    this.cut(node, other, ms, number)
    if (isWhole) this.cut(other, node, ms, number)
  }

  /** Cuts the leader off from all messages of others and, if `isWhole`, the others from its messages. */
  private isolate({ number, random, leader }: Fault, isWhole: boolean, isDeaf: boolean): void {
    const ms = this.outageMs(random)
    for (const other of this.world.nodes) {
      if (other === leader) continue
      if (isDeaf) this.cut(other, leader, ms, number)
      if (isWhole) this.cut(leader, other, ms, number)
    }
  }

  /** Transfers leadership to a node that is then cut off, so that the others learn of its new term later. */
  private transferAndCut({ number, random, leader }: Fault): void {
    const voters = leader.status?.voters.filter((name) => name !== leader.name) ?? []
    if (voters.length === 0) return
    const to = random.pick(voters)
    const target = this.world.nodes.find(({ name }) => name === to)
    // A leader of the distant past may still name a member whose disk was replaced.
    if (target === undefined) return
    this.world.operator.transfer(leader, target.name)
    const ms = this.outageMs(random)
    for (const other of this.world.nodes) if (other !== target) this.cut(target, other, ms, number)
  }

  private split({ number, random }: Fault): void {
    const ms = this.outageMs(random)
    const sides = this.world.nodes.map((node) => ({ node, side: random.is(0.5) }))
    for (const { node, side } of sides) {
      for (const other of sides) if (other.side !== side) this.cut(node, other.node, ms, number)
    }
  }

  private slowLink({ random, node }: Fault): void {
    const { network, scheduler, nodes } = this.world
    const other = random.pick(nodes.filter((each) => each !== node))
    network.slowDown(node.name, other.name, random.between(5, 50))
    scheduler.after(this.outageMs(random), 'link is fast again', () => network.slowDown(node.name, other.name, 1))
  }

  private outageMs(random: RandomSource): number {
    return random.exponential(this.electionMs * 2.5)
  }

  private cut(from: SimNode, to: SimNode, ms: number, fault: number): void {
    const { network, scheduler } = this.world
    network.cut(from.name, to.name, fault)
    scheduler.after(ms, 'link is back', () => network.mend(from.name, to.name, fault))
  }

  // ---- disks

  private slowDisk(node: SimNode, random: RandomSource): void {
    const hang = random.fork('hang')
    if (hang.is(0.3)) return this.hangDisk(hang.is(0.7) ? (this.world.leader() ?? node) : node, hang)
    node.diskFactor = random.between(10, 60)
    this.world.scheduler.after(random.exponential(this.electionMs * 2), `${node.name} disk is fast again`, () => {
      node.diskFactor = 1
    })
  }

  /** The disk does not fail; it stops answering for a while. */
  private hangDisk(node: SimNode, random: RandomSource): void {
    this.world.coverage.add('disks that hung')
    node.diskHangsUntil = this.world.scheduler.now + random.between(2, 12) * this.electionMs
  }

  private fullDisk({ disk, name }: SimNode, random: RandomSource): void {
    disk.fill(random.int(0, 1) * this.world.settings.disk.segmentBytes)
    this.world.scheduler.after(random.between(300, 2000), `${name} disk has room again`, () => {
      // `stop` has made room. A caller that fills the disk after that wants it full.
      if (!this.stopped) disk.makeRoom()
    })
  }

  /** Damages bits on the disk of a node that is down. It must notice at its next start. */
  private rot({ node, random }: Fault): void {
    const { operator, coverage } = this.world
    if (!operator.mayLose(node)) return
    node.crash()
    if (node.disk.rot(random)) {
      coverage.add('bits gone bad')
      node.isLost = true
    }
    this.world.restart(node, random.exponential(100))
  }
}
