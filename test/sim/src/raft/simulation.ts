import type { RaftMessage } from '@quire/protocol'
import { drawSchedule, isSelected, NOISE } from '../schedule.js'
import { SeedRun, type SeedInit, type SeedResult } from '../seed-run.js'
import { Violation } from '../violation.js'
import { Clients } from './clients.js'
import { Faults } from './faults.js'
import { RaftInvariants } from './invariants.js'
import { RaftNetwork } from './network.js'
import { SimNode, type Sabotage } from './node.js'
import { LeaderTenure } from './leader-tenure.js'
import { Operator } from './operator.js'
import { RaftQuiescence, type QuiescentRaft } from './quiescence.js'
import { KINDS, type InjectedEvent, type EventKind } from './schedule.js'
import { drawSettings, type RaftSettings } from './settings.js'
import { encodeTick } from './ticks.js'
import { Tracer } from './tracer.js'
import { LivenessWatch } from './liveness-watch.js'

interface RaftSimulationInit extends SeedInit {
  readonly settings?: (drawn: RaftSettings) => RaftSettings
  readonly sabotage?: Sabotage
}

export async function simulateRaft(init: RaftSimulationInit): Promise<SeedResult<EventKind>> {
  return new RaftSimulation(init).run()
}

const FOUNDING_MS = 300
/** Far more than any seed has. Only nodes that keep each other busy for nothing reach it. */
const MAX_EVENTS = 300_000

/**
 * Plays one seed of the Raft simulation.
 *
 * A cluster runs with clients, faults occur for a while, and then quiescence follows, in which all nodes must agree.
 */
class RaftSimulation extends SeedRun<EventKind> implements QuiescentRaft {
  readonly settings: RaftSettings
  readonly network: RaftNetwork
  readonly nodes: readonly SimNode[]
  readonly byName = new Map<string, SimNode>()
  readonly invariants: RaftInvariants
  readonly liveness: LivenessWatch
  readonly clients: Clients
  readonly operator: Operator
  readonly faults: Faults
  readonly schedule: readonly InjectedEvent[]
  private readonly touched = new Set<SimNode>()
  private readonly tracer: Tracer | undefined

  constructor(init: RaftSimulationInit) {
    super(init)
    const { scheduler, coverage } = this
    const drawn = drawSettings(this.random.fork('settings'))
    this.settings = init.settings?.(drawn) ?? drawn
    const { settings } = this
    if (settings.hasHandovers) coverage.add('seeds with handovers')
    const onError = (error: Error): void => this.fail(error)
    const leader = (): SimNode | undefined => this.leader()
    this.tracer = init.trace && new Tracer(scheduler, init.trace)
    this.network = new RaftNetwork({
      scheduler,
      coverage,
      random: this.random.fork('network'),
      settings: settings.network,
      deliver: (from, to, message, label) => this.deliver(from, to, message, label)
    })
    this.network.isNoisy = isSelected(init, NOISE)
    if (settings.network.roundTripMs > 0) coverage.add('clusters far apart')
    const tenure = new LeaderTenure(scheduler, settings)
    this.invariants = new RaftInvariants(this.byName, coverage, tenure)
    const { network, invariants } = this
    this.nodes = Array.from(
      { length: settings.nodes },
      (_, i) =>
        new SimNode(`n${i + 1}`, {
          scheduler,
          network,
          coverage,
          settings,
          invariants,
          tenure,
          sabotage: init.sabotage,
          random: this.random.fork('nodes'),
          touched: (node) => this.touched.add(node),
          onOpened: (node) => this.opened(node),
          onRefused: (node, error) => this.refused(node, error),
          renamed: (node, before) => {
            this.byName.delete(before)
            this.byName.set(node.name, node)
          },
          ticked: (node) => this.liveness.ticked(node),
          onFatal: (node, error) => this.stopped(node, error)
        })
    )
    const { nodes } = this
    for (const node of nodes) this.byName.set(node.name, node)
    this.liveness = new LivenessWatch(scheduler, onError)
    const { liveness } = this
    this.clients = new Clients({
      scheduler,
      coverage,
      invariants,
      liveness,
      onError,
      random: this.random.fork('clients'),
      settings: settings.client,
      nodes: this.byName
    })
    this.operator = new Operator({ scheduler, coverage, settings, invariants, liveness, nodes, leader, onError })
    this.faults = new Faults({
      scheduler,
      coverage,
      network,
      nodes,
      settings,
      leader,
      operator: this.operator,
      restart: (node, ms) => this.restart(node, ms),
      burst: (random) => this.clients.burst(random)
    })
    const kinds = KINDS.map(([kind]) => kind)
    const drawnSchedule = drawSchedule(kinds, this.random.fork('schedule'), settings)
    this.schedule = drawnSchedule.filter(({ number }) => isSelected(init, number))
    scheduler.afterEvent = () => this.check()
  }

  protected async play(): Promise<void> {
    const { scheduler, settings } = this
    const voters = this.nodes.slice(0, settings.firstVoters)
    const bootstrap = { voters: voters.map(({ name }) => name), learners: [], context: encodeTick(settings.tickMs) }
    for (const node of voters) {
      node.creation = { bootstrap }
      node.start()
    }
    this.clients.start()
    this.operator.watch()
    this.plan(this.schedule, FOUNDING_MS, (event, random) => this.faults.inject(event, random))
    await this.runFor(FOUNDING_MS + settings.faultyMs)
    this.note('--- quiescence')
    this.operator.stop()
    this.faults.stop()
    // Names of forks decide what a seed draws, so this one keeps the name that it was given first.
    await new RaftQuiescence(this, this.random.fork('peace')).run()
    scheduler.hash.number(this.invariants.commitIndex)
    for (const { name, status, application } of this.nodes) {
      const { term = 0, lastIndex = 0, appliedIndex = 0, voters = [] } = status ?? {}
      scheduler.hash.text(`${name} ${term} ${lastIndex} ${appliedIndex} ${voters.join(' ')}`)
      scheduler.hash.number(application?.state.hash ?? 0)
    }
  }

  // ---- time

  async until(invariant: string, ms: number, done: () => boolean, facts = () => this.describe()): Promise<void> {
    const late = await this.reach(ms, done)
    if (late !== undefined) throw new Violation(invariant, `${late}: ${facts()}`)
  }

  describe(): string {
    const nodes = this.nodes.map(({ name, status, isUp, isLost, isClosing }) => {
      const state = isLost ? 'lost' : isClosing ? 'closing' : isUp ? 'up' : 'down'
      if (status === undefined) return `${name} ${state}`
      const { role, term, firstIndex, lastIndex, commitIndex, appliedIndex, voters, outgoing } = status
      const joint = outgoing.length > 0 ? ` from ${outgoing.join(' ')}` : ''
      return `${name} ${state}, ${role} of ${term}, log ${firstIndex}..${lastIndex}, commit ${commitIndex}, applied ${appliedIndex}, voters ${voters.join(' ')}${joint}`
    })
    return [...nodes, this.operator.describe()].join('; ')
  }

  // ---- nodes

  /** The leader of the highest term. A stalled node may still believe that it leads. */
  leader(): SimNode | undefined {
    let found: SimNode | undefined
    let highest = 0
    for (const node of this.nodes) {
      const { status } = node
      if (status?.role !== 'leader' || status.term < highest || node.isClosing) continue
      found = node
      highest = status.term
    }
    return found
  }

  restart(node: SimNode, ms: number): void {
    this.scheduler.after(ms, `${node.name} restarts`, () => {
      if (!node.isUp && node.exists && !node.isHeld) node.start()
    })
  }

  private deliver(from: string, to: string, message: RaftMessage, label: string): void {
    const node = this.byName.get(to)
    if (node?.isUp !== true) return
    this.coverage.add('messages')
    this.tracer?.message(label, message)
    node.receive(from, message, label)
  }

  private opened(node: SimNode): void {
    if (node.isLost) {
      // The damaged bits did not matter: everything that was flushed is there.
      node.isLost = false
      this.coverage.add('damage that costs nothing')
    }
  }

  private refused(node: SimNode, error: Error): void {
    const { coverage } = this
    if (node.isLost && !node.disk.mayFail) {
      coverage.add(`damage found: ${error.name}`)
      if (error.name !== 'CorruptionError' && error.name !== 'VersionMismatchError') return this.fail(error)
      return node.crash()
    }
    if (!node.disk.mayRefuse)
      return this.fail(new Error(`${node.name} does not start: ${error.message}`, { cause: error }))
    coverage.add('starts refused by a disk')
    node.crash()
    this.restart(node, 200)
  }

  private stopped(node: SimNode, error: Error): void {
    if (error.name !== 'LogFailedError' || !node.disk.mayFail) {
      this.fail(
        error instanceof Violation ? error : new Error(`${node.name} stopped: ${error.message}`, { cause: error })
      )
      return
    }
    this.coverage.add('stopped by a disk')
    // Its process ends in order and comes back, or its machine loses power as well.
    if (this.random.is(0.5)) {
      node.crash()
      this.restart(node, 200)
    } else {
      void node.close().then(() => this.restart(node, 200))
    }
  }

  // ---- checks

  private check(): void {
    if (this.failure === undefined) {
      this.guard(() => {
        this.checkEvents(MAX_EVENTS)
        for (const node of this.touched) node.check()
      })
    }
    if (this.tracer !== undefined) for (const node of this.touched) this.tracer.node(node)
    this.touched.clear()
  }

  protected note(line: string): void {
    this.tracer?.note(line)
  }
}
