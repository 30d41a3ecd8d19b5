/** What goes wrong, one numbered fault at a time. */
import type { Coverage } from '../coverage.js'
import type { Chance } from '../random.js'
import type { Scheduler } from '../scheduler.js'
import type { RaftNetwork } from './network.js'
import type { SimNode } from './node.js'
import type { Operator } from './operator.js'
import type { Happening, HappeningKind } from './schedule.js'
import type { RaftSettings } from './settings.js'

export interface FaultWorld {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly network: RaftNetwork
  readonly nodes: readonly SimNode[]
  readonly operator: Operator
  readonly settings: RaftSettings
  readonly leader: () => SimNode | undefined
  readonly restart: (node: SimNode, ms: number) => void
  readonly burst: (chance: Chance) => void
}

/** One fault, with the chance that is its own. */
interface Fault {
  readonly number: number
  readonly chance: Chance
  readonly node: SimNode
  readonly leader: SimNode
}

export class Faults {
  private stopped = false

  constructor(private readonly world: FaultWorld) {}

  /** No new fault, and every old one is over. */
  stop(): void {
    this.stopped = true
    const { network, nodes } = this.world
    network.heal()
    network.isNoisy = false
    for (const node of nodes) {
      node.diskFactor = 1
      node.disk.makeRoom()
      // What was to fail and did not yet would do so in peace.
      if (node.disk.mayFail || node.diskHangsUntil > this.world.scheduler.now) node.crash()
      node.diskHangsUntil = 0
      node.disk.onWrite = undefined
      node.snapshots.refusesNext = false
    }
  }

  happen({ number, kind }: Happening, chance: Chance): void {
    if (this.stopped) return
    const up = this.world.nodes.filter(({ isUp }) => isUp)
    if (up.length === 0) return
    this.world.coverage.add(`happening: ${kind}`)
    const node = chance.pick(up)
    this.run(kind, { number, chance, node, leader: this.world.leader() ?? node })
  }

  private run(kind: HappeningKind, fault: Fault): void {
    const { node, leader, chance } = fault
    const { operator } = this.world
    switch (kind) {
      case 'crash':
        return this.crash(node, chance)
      case 'crashLeader':
        return this.crash(leader, chance)
      case 'crashInWrite':
        return this.crashInWrite(chance.is(0.3) ? leader : node, chance)
      case 'crashAll':
        for (const each of this.world.nodes) this.crash(each, chance)
        return
      case 'close':
        return this.close(chance.is(0.3) ? leader : node, chance)
      case 'outage':
        node.crash()
        return this.world.restart(node, chance.between(400, 1500))
      case 'stall':
        return node.process?.stall(chance.exponential(this.electionMs))
      case 'stallLeader':
        return leader.process?.stall(chance.exponential(this.electionMs * 1.5))
      case 'cutBothWays':
      case 'cutOneWay':
        return this.cutPair(fault, kind === 'cutBothWays')
      case 'isolateLeader':
        return this.isolate(fault, chance.is(0.7), true)
      case 'deafenLeader':
        return this.isolate(fault, false, true)
      case 'split':
        return this.split(fault)
      case 'slowLink':
        return this.slowLink(fault)
      case 'slowDisk':
        return this.slowDisk(node, chance)
      case 'failWrite':
        return node.disk.fail(chance.pick(['write', 'write', 'write', 'create', 'rename', 'remove', 'flushDirectory']))
      case 'fullDisk':
        return this.fullDisk(node, chance)
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
        return this.world.burst(chance)
      default:
        return operator.begin(kind, chance)
    }
  }

  private get electionMs(): number {
    return this.world.settings.electionTicks * this.world.settings.tickMs
  }

  // ---- processes

  private crash(node: SimNode, chance: Chance): void {
    if (!node.isUp) return
    node.crash()
    this.world.restart(node, chance.exponential(150))
  }

  private crashInWrite(node: SimNode, chance: Chance): void {
    const ms = chance.exponential(150)
    // Only what has several sectors can be torn, and a file whose first write is torn is no segment yet.
    const minSectors = chance.pick([1, 2, 2, 3, 4])
    const mayBeFirst = chance.is(0.15)
    const isWanted = (offset: number, sectors: number): boolean => sectors >= minSectors && (offset > 0 || mayBeFirst)
    node.crashInWrite(isWanted, () => {
      if (this.stopped) return
      node.crash()
      this.world.restart(node, ms)
    })
  }

  private close(node: SimNode, chance: Chance): void {
    const ms = chance.exponential(100)
    void node.close().then(() => this.world.restart(node, ms))
  }

  // ---- links

  private cutPair({ number, chance, node }: Fault, isWhole: boolean): void {
    const other = chance.pick(this.world.nodes.filter((each) => each !== node))
    const ms = this.outageMs(chance)
    this.cut(node, other, ms, number)
    if (isWhole) this.cut(other, node, ms, number)
  }

  /** Nothing from others reaches the leader; if `isWhole`, nothing from it reaches them either. */
  private isolate({ number, chance, leader }: Fault, isWhole: boolean, isDeaf: boolean): void {
    const ms = this.outageMs(chance)
    for (const other of this.world.nodes) {
      if (other === leader) continue
      if (isDeaf) this.cut(other, leader, ms, number)
      if (isWhole) this.cut(leader, other, ms, number)
    }
  }

  /** Who is asked to stand raises its term, and nobody hears of it for a while. */
  private transferAndCut({ number, chance, leader }: Fault): void {
    const voters = leader.status?.voters.filter((name) => name !== leader.name) ?? []
    if (voters.length === 0) return
    const to = chance.pick(voters)
    const target = this.world.nodes.find(({ name }) => name === to)
    // A leader of long ago may still name a member whose disk was replaced.
    if (target === undefined) return
    this.world.operator.transferNow(leader, target.name)
    const ms = this.outageMs(chance)
    for (const other of this.world.nodes) if (other !== target) this.cut(target, other, ms, number)
  }

  private split({ number, chance }: Fault): void {
    const ms = this.outageMs(chance)
    const sides = this.world.nodes.map((node) => ({ node, side: chance.is(0.5) }))
    for (const { node, side } of sides) {
      for (const other of sides) if (other.side !== side) this.cut(node, other.node, ms, number)
    }
  }

  private slowLink({ chance, node }: Fault): void {
    const { network, scheduler, nodes } = this.world
    const other = chance.pick(nodes.filter((each) => each !== node))
    network.slowDown(node.name, other.name, chance.between(5, 50))
    scheduler.after(this.outageMs(chance), 'link is fast again', () => network.slowDown(node.name, other.name, 1))
  }

  private outageMs(chance: Chance): number {
    return chance.exponential(this.electionMs * 2.5)
  }

  private cut(from: SimNode, to: SimNode, ms: number, fault: number): void {
    const { network, scheduler } = this.world
    network.cut(from.name, to.name, fault)
    scheduler.after(ms, 'link is back', () => network.mend(from.name, to.name, fault))
  }

  // ---- disks

  private slowDisk(node: SimNode, chance: Chance): void {
    const hang = chance.fork('hang')
    if (hang.is(0.3)) return this.hangDisk(hang.is(0.7) ? (this.world.leader() ?? node) : node, hang)
    node.diskFactor = chance.between(10, 60)
    this.world.scheduler.after(chance.exponential(this.electionMs * 2), `${node.name} disk is fast again`, () => {
      node.diskFactor = 1
    })
  }

  /** It does not fail, it just does not answer. */
  private hangDisk(node: SimNode, chance: Chance): void {
    this.world.coverage.add('disks that hung')
    node.diskHangsUntil = this.world.scheduler.now + chance.between(2, 12) * this.electionMs
  }

  private fullDisk({ disk, name }: SimNode, chance: Chance): void {
    disk.fill(chance.int(0, 1) * this.world.settings.disk.segmentBytes)
    this.world.scheduler.after(chance.between(300, 2000), `${name} disk has room again`, () => disk.makeRoom())
  }

  /** Bits of a node that does not run go bad: it must notice at its next start. */
  private rot({ node, chance }: Fault): void {
    const { operator, coverage } = this.world
    if (!operator.mayLose(node)) return
    node.crash()
    if (node.disk.rot(chance)) {
      coverage.add('bits gone bad')
      node.isLost = true
    }
    this.world.restart(node, chance.exponential(100))
  }
}
