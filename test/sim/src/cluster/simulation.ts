import type { Member } from '@quire/protocol'
import { DamagedPageError, type Applied } from '@quire/store/internal'
import { drawSchedule, isSelected, NOISE, type InjectedEvent } from '../schedule.js'
import { SeedRun, type SeedInit, type SeedResult } from '../seed-run.js'
import { Violation } from '../violation.js'
import { AccessInvariants } from './access-invariants.js'
import { History } from './history.js'
import { SimClient } from './clients.js'
import { Faults, FAULTS, type Fault } from './faults.js'
import { ADMIN_IDS, CLIENT_IDS, PEER_IDS, SPARE_IDS, withNames } from './ids.js'
import { LogInvariants } from './log-invariants.js'
import { EvidenceInvariants } from './evidence-invariants.js'
import { LinkInvariants } from './link-invariants.js'
import { ListingInvariants } from './listing-invariants.js'
import { SimNetwork } from './network.js'
import { Operator } from './operator.js'
import { PageInvariants } from './page-invariants.js'
import { OldFolders } from './old-folders.js'
import { ClusterQuiescence, type QuiescentCluster } from './quiescence.js'
import { SimPeer, type PeerWorld } from './peers.js'
import { PeerRaftInvariants } from './raft-invariants.js'
import { ReferenceState } from './reference-state.js'
import { drawSettings, isLeaderSafe } from './settings.js'
import { memberOf } from './settlement.js'
import { SimAdmin } from './sim-admin.js'
import type { Settings } from './settings-types.js'
import { ScrubInvariants } from './scrub-invariants.js'
import { SnapshotInvariants } from './snapshot-invariants.js'
import { Traffic } from './traffic.js'
import { UnnamedFiles } from './unnamed-files.js'

interface SimulationInit extends SeedInit {
  readonly settings?: (drawn: Settings) => Settings
}

const FOUNDING_MS = 400
/** Entries that change which path leads where. */
const NAMING: ReadonlySet<Applied['type']> = new Set(['opened', 'renamed', 'unlinked', 'linked'])
const DIGEST_MS = 700
/** Far more than any seed has. Only nodes that keep each other busy for nothing reach it. */
const MAX_EVENTS = 150_000

export async function simulate(init: SimulationInit): Promise<SeedResult<Fault>> {
  return new Simulation(init).run()
}

/**
 * Plays one seed of the cluster simulation.
 *
 * A cluster runs with clients, faults occur for a while, and then quiescence follows, in which all nodes must agree.
 */
class Simulation extends SeedRun<Fault> implements QuiescentCluster {
  readonly settings: Settings
  readonly network: SimNetwork
  readonly peers: readonly SimPeer[]
  readonly clients: readonly SimClient[]
  readonly raft: PeerRaftInvariants
  readonly pages: PageInvariants
  readonly history: History
  private readonly listings: ListingInvariants
  private readonly unnamed: UnnamedFiles
  private readonly log = new LogInvariants()
  private readonly reference: ReferenceState
  private readonly evidence: EvidenceInvariants
  private readonly snapshots: SnapshotInvariants
  private readonly access: AccessInvariants
  private readonly links: LinkInvariants
  private readonly scrubs: ScrubInvariants
  private readonly faults: Faults
  readonly operator: Operator
  private readonly schedule: readonly InjectedEvent<Fault>[]
  private readonly digests = new Map<number, string>()
  private readonly traffic: Traffic
  isQuiescent = false
  private stopping = false
  /** Something has happened since the last check that pages could show. */
  private isTouched = true
  private term = 0
  private twins = 0

  constructor(init: SimulationInit) {
    super(init)
    const { scheduler, coverage } = this
    const drawn = drawSettings(this.random.fork('settings'))
    this.settings = init.settings?.(drawn) ?? drawn
    const { settings } = this
    for (const mix of settings.mixes) coverage.add(`seeds with ${mix}`)
    this.network = new SimNetwork({ ...settings.network, scheduler, coverage, random: this.random.fork('network') })
    this.network.isFaulty = settings.isNoisy && isSelected(init, NOISE)
    if (settings.network.roundTripMs > 0) coverage.add('clusters far apart')
    this.history = new History(scheduler)
    this.pages = new PageInvariants(
      () => this.clients,
      () => scheduler.now,
      coverage
    )
    this.listings = new ListingInvariants(() => scheduler.now)
    this.unnamed = new UnnamedFiles(this.pages, coverage)
    this.peers = this.makePeers()
    this.clients = this.makeClients()
    const { network, peers, clients } = this
    this.raft = new PeerRaftInvariants(peers, coverage)
    const onViolation = (error: Violation): void => this.fail(error)
    this.evidence = new EvidenceInvariants({ scheduler, coverage, network, peers, raft: this.raft })
    const { evidence } = this
    const reference = new ReferenceState(settings.peer.maxReleased)
    this.reference = reference
    const { retainedBytes } = settings.peer.raft
    this.snapshots = new SnapshotInvariants({ peers, coverage, reference, evidence, retainedBytes })
    const twinOf = (id: string): SimPeer => this.twinOf(id)
    // The first one that believes that it leads.
    const leader = (): SimPeer | undefined => peers.find((peer) => peer.core?.root.node?.status().role === 'leader')
    const oldFolders = new OldFolders({ scheduler, coverage, peers, evidence, leader, twinOf, onViolation })
    this.operator = this.makeOperator(oldFolders)
    const { operator } = this
    this.access = new AccessInvariants({ peers, coverage })
    this.links = new LinkInvariants({ peers, coverage })
    this.scrubs = new ScrubInvariants({ peers, coverage })
    this.faults = new Faults({
      ...{ scheduler, coverage, network, peers, clients, oldFolders, operator },
      settings: settings.faults
    })
    const { faultyMs, faults } = settings
    const schedule = drawSchedule(FAULTS, this.random.fork('schedule'), { ...faults, faultyMs })
    this.schedule = schedule.filter(({ number }) => isSelected(init, number))
    this.traffic = new Traffic({
      clients,
      coverage,
      pages: this.pages,
      trace: init.trace && ((line) => this.note(line))
    })
    network.onHandlerError = (error) => this.fail(new Error(`a handler threw: ${error.message}`, { cause: error }))
    network.onDeliver = (from, to, protocol, frame) =>
      this.guard(() => {
        this.traffic.delivered(from, to, protocol, frame)
        this.evidence.delivered(from, to, protocol, frame)
        this.links.delivered(to, protocol, frame)
        this.scrubs.delivered(protocol, frame)
      })
    network.onSend = (from, to, protocol, frame, process) => {
      this.clients.find(({ id }) => id === from)?.frameSent(protocol, frame)
      this.guard(() => {
        this.evidence.sent(from, to, protocol, frame)
        this.access.sent(from, to, protocol, frame)
        this.links.sent(from, to, protocol, frame, process)
        this.scrubs.sent(from, protocol, frame)
      })
    }
    network.onControlWait = (from, to, ms) => this.guard(() => this.controlWaits(from, to, ms))
    scheduler.afterEvent = () => this.check()
    if (init.trace !== undefined) scheduler.onTrace = ({ label }) => this.note(label)
  }

  private worldOfPeers(): PeerWorld {
    const { scheduler, network, coverage, settings } = this
    return {
      scheduler,
      network,
      coverage,
      random: this.random.fork('peers'),
      settings: settings.peer,
      seeds: () => this.peersToAsk(),
      onApplied: (peer: SimPeer, index: number, applied: Applied | undefined) =>
        this.guard(() => this.applied(peer, index, applied)),
      onReceiving: (peer: SimPeer) => this.faults.receiving(peer),
      onFatal: (peer: SimPeer, error: Error) =>
        this.fail(new Error(`${peer.name} stopped: ${error.message}`, { cause: error }))
    }
  }

  private makePeers(): SimPeer[] {
    const { settings } = this
    const world = this.worldOfPeers()
    const spares = settings.isAdministered ? SPARE_IDS : []
    return [...PEER_IDS, ...spares].map((id) => {
      const isFounder = (PEER_IDS as readonly string[]).includes(id)
      return new SimPeer({ id, isFounder }, world)
    })
  }

  /** Makes a peer with the key of another one. What it applies is none of the cluster's. */
  private twinOf(id: string): SimPeer {
    const world = { ...this.worldOfPeers(), onApplied: () => {}, onReceiving: () => {} }
    return new SimPeer({ id, isFounder: false, twin: ++this.twins }, world)
  }

  private makeOperator(oldFolders: OldFolders): Operator {
    const { scheduler, network, coverage, peers, clients, raft, settings } = this
    const admins = this.random.fork('admins')
    const [admin, helper, stranger] = ADMIN_IDS.map((id) => {
      const peersToAsk = (): readonly Member[] => this.peersToAsk()
      return new SimAdmin({ id, scheduler, network, coverage, random: admins.fork(id), peersToAsk })
    })
    return new Operator({
      ...{ scheduler, coverage, peers, clients, raft, admin: admin!, helper: helper!, stranger: stranger! },
      ttlMs: settings.client.sessionTtlMs,
      roundTripMs: settings.peer.roundTripMs,
      twinOf: (id) => this.twinOf(id),
      startTwin: (peer, random) => oldFolders.begin(peer, random, true),
      leader: () => this.leader(),
      onError: (error) => this.fail(error)
    })
  }

  /** The members of the newest configuration that any peer has applied, whether they run or not. */
  private peersToAsk(): readonly Member[] {
    const configs = this.peers.flatMap(({ core }) => (core === undefined ? [] : [core.config]))
    const newest = configs.reduce((one, other) => (one.revision < other.revision ? other : one), configs[0]!)
    const isAdministered = this.settings.isAdministered && newest !== undefined
    const ids = isAdministered ? newest.members.map(({ peerId }) => peerId) : PEER_IDS
    return [...new Set(ids)].map((id) => memberOf(this.peers.find((peer) => peer.id === id)!))
  }

  get members(): readonly SimPeer[] {
    return this.peers.filter(({ isInstalled }) => isInstalled)
  }

  private makeClients(): SimClient[] {
    const { scheduler, network, coverage, settings, history, listings, unnamed } = this
    const world = {
      scheduler,
      network,
      coverage,
      history,
      listings,
      unnamed,
      peersToAsk: () => this.peersToAsk().map(({ addresses: [address] }) => address!),
      random: this.random.fork('clients'),
      settings: settings.client,
      invariants: this.pages,
      isStopping: () => this.stopping,
      isQuiescent: () => this.isQuiescent && !this.clients.some(({ isPlaying }) => isPlaying),
      onError: (client: SimClient, error: Error) =>
        this.fail(error instanceof Violation ? error : new Error(`${client.name}: ${error.message}`, { cause: error })),
      onTouched: () => {
        this.isTouched = true
      }
    }
    return CLIENT_IDS.slice(0, settings.clients).map((id) => new SimClient(id, world))
  }

  protected async play(): Promise<void> {
    const { settings } = this
    for (const peer of this.members) peer.start()
    for (const client of this.clients) client.start()
    this.digestRegularly()
    this.plan(this.schedule, FOUNDING_MS, ({ kind }, random) => this.faults.inject(kind, random))
    await this.runFor(FOUNDING_MS + settings.faultyMs)
    this.note('--- quiescence')
    this.faults.stop()
    this.stopping = true
    let failure: Error | undefined
    try {
      // Names of forks decide what a seed draws, so this one keeps the name that it was given first.
      await new ClusterQuiescence(this, this.random.fork('peace')).run()
    } catch (error) {
      failure = error as Error
    }
    this.hashEnd()
    // A wrong result tells more than a call that does not end.
    this.judge()
    if (failure !== undefined) throw failure
  }

  private hashEnd(): void {
    const { hash } = this.scheduler
    hash.number(this.raft.commitIndex)
    for (const { id, size, pages } of this.pages.files.values()) {
      hash.number(id).number(size)
      for (const { page, committed } of pages.values()) hash.number(page).bytes(committed)
    }
  }

  private judge(): void {
    if (this.failure !== undefined) return
    const judged = this.history.judge((file) => this.pages.files.get(Number(file))?.initialSize ?? 0)
    this.coverage.add('operations judged', judged)
  }

  // ---- time

  async until(what: string, ms: number, done: () => boolean, describe: () => string): Promise<void> {
    const late = await this.reach(ms, done)
    if (late !== undefined) throw new Violation('liveness', `${what}: ${late}: ${describe()}`)
  }

  /** The leader of the highest term. A stalled node may still believe that it leads. */
  leader(): SimPeer | undefined {
    let found: SimPeer | undefined
    let highest = 0
    for (const peer of this.peers) {
      const status = peer.core?.root.node?.status()
      if (status?.ready !== true || status.term < highest) continue
      found = peer
      highest = status.term
    }
    return found
  }

  // ---- checks

  private check(): void {
    if (this.failure !== undefined) return
    this.guard(() => {
      this.checkEvents(MAX_EVENTS)
      this.raft.check()
      this.snapshots.check()
      this.scrubs.check()
      if (this.settings.isAdministered) this.operator.invariants.check()
      if (!this.isTouched) return
      this.isTouched = false
      this.pages.check()
    })
  }

  /** Keep-alives and their answers never wait behind more page bytes than a line carries in part of a lease's time. */
  private controlWaits(from: string, to: string, ms: number): void {
    const { sessionTtlMs } = this.settings.client
    if (ms <= sessionTtlMs / 2) return
    const facts = `${from}>${to} ${ms.toFixed(0)} ms, with a TTL of ${sessionTtlMs} ms`
    throw new Violation('control does not wait behind bulk', facts)
  }

  private digestRegularly(): void {
    this.scheduler.after(DIGEST_MS, 'digests', () => {
      this.guard(() => {
        this.checkDigests()
        this.evidence.check()
      })
      this.digestRegularly()
    })
  }

  /**
   * Replicas that have applied the same entries are equal. A damaged page has no digest: its peer repairs it, and the
   * result is false.
   */
  checkDigests(): boolean {
    let areWhole = true
    for (const peer of this.peers) {
      const applier = peer.core?.root.replica.applier
      // A peer that adopts a snapshot has no state.
      if (applier === undefined || peer.rows?.stage === 'adopting') continue
      const { appliedIndex } = applier
      const digest = this.digestOf(peer)
      if (digest === undefined) {
        areWhole = false
        continue
      }
      const other = this.digests.get(appliedIndex) ?? digest
      if (other !== digest) throw new Violation('replicas are equal', `${peer.name} differs at entry ${appliedIndex}`)
      this.digests.set(appliedIndex, digest)
    }
    return areWhole
  }

  private digestOf(peer: SimPeer): string | undefined {
    const { root } = peer.core!
    try {
      return root.replica.applier.state.digest()
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      root.damaged(error.file, error.page)
      return undefined
    }
  }

  private applied(peer: SimPeer, index: number, applied: Applied | undefined): void {
    this.scheduler.hash.text(peer.name).number(index)
    this.evidence.applied(peer, index)
    this.reference.applied(peer, index)
    this.countTerms()
    if (!this.log.applied(peer, index, applied) || applied === undefined) return
    this.isTouched = true
    this.access.applied(peer, applied)
    if (applied.type === 'session-ended' && applied.expired) this.coverage.add('expiries')
    this.pages.applied(peer, index, applied)
    const { state } = peer.core!.root.replica.applier
    this.unnamed.applied(state, applied)
    if (NAMING.has(applied.type)) this.listings.applied(state)
  }

  private countTerms(): void {
    const term = this.leader()?.core?.root.node?.status().term ?? 0
    if (term <= this.term) return
    // No leader is deposed because clients cannot reach it.
    if (this.term > 0 && isLeaderSafe(this.settings)) {
      throw new Violation('a leader whose peers all hear it keeps leading', `term ${this.term} -> ${term}`)
    }
    this.term = term
    for (const client of this.clients) {
      for (const page of client.view()?.pages ?? []) {
        if (page.access !== 'invalid') return this.coverage.add('failovers with copies out')
      }
    }
  }

  note(line: string): void {
    this.init.trace?.(`${this.scheduler.now.toFixed(3).padStart(10)}  ${withNames(line)}`)
  }
}
