import type { SimClient } from './clients.js'
import { MAX_ROUND_TRIP_MS, PROTOCOL_RAFT } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { CLIENT_IDS, nameOf } from './ids.js'
import { MEMBERSHIP_KINDS, type MembershipKind, type Operator } from './operator.js'
import type { SimNetwork } from './network.js'
import type { OldFolders } from './old-folders.js'
import { SnapshotFaults } from './snapshot-faults.js'
import type { Hop } from './path.js'
import type { SimPeer } from './peers.js'
import type { Stream } from './stream.js'
import type { Scheduler } from '../scheduler.js'

/** Every kind, and how common it is. */
export const FAULT_WEIGHTS = {
  crashPeer: 1,
  crashLeader: 1,
  stopPeer: 1,
  transferLeader: 1,
  crashClient: 1,
  closeClient: 0.7,
  stallPeer: 1,
  stallLeader: 1,
  stallClient: 1,
  isolateLeader: 1,
  isolateClient: 1,
  partition: 1,
  partitionOneWay: 1,
  breakStream: 1.5,
  breakConnection: 1.5,
  slowStream: 2,
  slowLink: 1,
  oldFolder: 0.7,
  hideLeader: 0.7,
  /** Only some mixes have these: see the settings. */
  retime: 0,
  crashReceiver: 0,
  crashSender: 0,
  fillReceiver: 0,
  rotPages: 0,
  ...MEMBERSHIP_KINDS
} as const

export type Fault = keyof typeof FAULT_WEIGHTS
export const FAULTS = Object.keys(FAULT_WEIGHTS) as Fault[]
export const DRAWN_FAULTS = FAULTS.filter((fault) => FAULT_WEIGHTS[fault] > 0)

export interface FaultSettings {
  /** Mean time between two faults. */
  readonly everyMs: number
  readonly weights: Readonly<Record<Fault, number>>
  /** Streams break only between clients and peers. */
  readonly areClientsOnly: boolean
  /** The round trip that the cluster was founded with. The operator sets no shorter one. */
  readonly roundTripMs: number
  /** The time to live of sessions: a longer fault costs sessions. */
  readonly ttlMs: number
}

/** Errors after which the operator tries again. */
const PATIENCE = ['NotLeaderError', 'ChangePendingError', 'BackPressureError']

interface FaultInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly network: SimNetwork
  readonly peers: readonly SimPeer[]
  readonly clients: readonly SimClient[]
  readonly settings: FaultSettings
  readonly oldFolders: OldFolders
  /** Changes the members of the cluster. */
  readonly operator: Operator
}

/**
 * Injects faults until it is stopped.
 *
 * Several faults may last at the same time.
 */
export class Faults {
  private stopped = false
  private readonly snapshots: SnapshotFaults
  /** The one machine with a bad disk: others have good copies. */
  private rotten: SimPeer | undefined

  constructor(private readonly init: FaultInit) {
    const { scheduler, coverage, peers } = init
    const restart = (peer: SimPeer, ms: number): void => this.restart(peer, ms)
    const leader = (): SimPeer | undefined => this.leader()
    this.snapshots = new SnapshotFaults({ scheduler, coverage, peers, restart, leader })
  }

  /** The first piece of a snapshot has arrived at a peer. */
  receiving(peer: SimPeer): void {
    this.snapshots.receiving(peer)
  }

  /** Ends every fault, and injects no new one. */
  stop(): void {
    this.stopped = true
    this.init.oldFolders.stop()
    this.snapshots.stop()
    const { network, peers, clients } = this.init
    network.heal()
    network.isFaulty = false
    for (const node of [...peers, ...clients]) this.startAgain(node)
    this.init.operator.stop()
  }

  inject(fault: Fault, random: RandomSource): void {
    if (this.stopped) return
    const { coverage, network, clients, settings, operator } = this.init
    const peers = this.installed
    coverage.add(`fault: ${fault}`)
    const leader = this.leader() ?? random.pick(peers)
    const client = random.pick(clients)
    const long = random.exponential(settings.ttlMs)
    switch (fault) {
      case 'crashPeer':
        return this.crash(random.pick(peers), random)
      case 'crashLeader':
        return this.crash(leader, random)
      case 'stopPeer':
        return this.stopPeer(random.pick(peers), random)
      case 'transferLeader':
        return this.transfer(leader, random)
      case 'retime':
        return this.retime(leader, random)
      case 'crashClient':
        client.crash(random.is(0.5))
        return this.restart(client, random.exponential(settings.ttlMs / 2))
      case 'closeClient':
        void client.closeAndLeave().then(() => this.restart(client, random.exponential(100)))
        return
      case 'stallPeer':
        return random.pick(peers).process?.stall(random.exponential(300))
      case 'stallLeader':
        return leader.process?.stall(long)
      case 'stallClient':
        return client.process?.stall(long)
      case 'isolateLeader': {
        const isWhole = random.is(0.5)
        coverage.add('partitions')
        for (const { id } of peers) {
          if (id === leader.id) continue
          this.cut(leader.id, id, long * 1.5)
          if (isWhole) this.cut(id, leader.id, long * 1.5)
        }
        return
      }
      case 'isolateClient': {
        const ms = long * 1.5
        coverage.add('partitions')
        for (const { id } of peers) {
          this.cut(client.id, id, ms)
          this.cut(id, client.id, ms)
        }
        return
      }
      case 'hideLeader':
        return this.hideLeader(leader, random)
      case 'partition':
      case 'partitionOneWay': {
        const [a, b] = this.pair(random)
        coverage.add('partitions')
        this.cut(a, b, long)
        if (fault === 'partition') this.cut(b, a, long)
        return
      }
      case 'breakStream':
      case 'breakConnection': {
        const streams = settings.areClientsOnly ? this.clientStreams() : [...network.streams]
        // A relay's connection to the leader carries the streams of peers, too.
        const isMeant = (hop: Hop): boolean =>
          !settings.areClientsOnly || hop.some((id) => nameOf(id).startsWith('client'))
        if (streams.length > 0) network.breakStream(random.pick(streams), fault === 'breakConnection', random, isMeant)
        return
      }
      case 'slowStream': {
        const streams = this.clientStreams()
        if (streams.length > 0) network.delayStream(random.pick(streams), random, random.between(5, 100))
        return
      }
      case 'slowLink': {
        const [a, b] = this.pair(random)
        network.slowDown(a, b, random.between(5, 50))
        this.init.scheduler.after(long, 'link is fast again', () => network.slowDown(a, b, 1))
        return
      }
      case 'oldFolder':
        return this.init.oldFolders.begin(random.pick(peers), random)
      case 'crashReceiver':
      case 'crashSender':
      case 'fillReceiver':
        return this.snapshots.begin(fault, random.pick(peers), random)
      case 'rotPages':
        return this.rot(random)
      default:
        return operator.begin(fault satisfies MembershipKind, random)
    }
  }

  /** Some clients reach the leader through other peers only: for a while, or until the faults end. */
  private hideLeader(leader: SimPeer, random: RandomSource): void {
    const { clients, coverage, settings } = this.init
    const ms = random.is(0.3) ? Infinity : random.exponential(4 * settings.ttlMs)
    coverage.add('leaders hidden')
    for (const { id } of clients) {
      if (random.is(0.3)) continue
      this.cut(id, leader.id, ms)
      if (random.is(0.7)) this.cut(leader.id, id, ms)
    }
  }

  private clientStreams(): Stream[] {
    return [...this.init.network.streams].filter(({ protocol }) => protocol !== PROTOCOL_RAFT)
  }

  /** The peers that an operator wants to run. */
  private get installed(): SimPeer[] {
    return this.init.peers.filter(({ isInstalled }) => isInstalled)
  }

  private leader(): SimPeer | undefined {
    return this.init.peers.find((peer) => peer.core?.root.node?.status().role === 'leader')
  }

  /** Draws two nodes that talk to each other, of which one is a peer. */
  private pair(random: RandomSource): [string, string] {
    const { clients } = this.init
    const peers = this.installed.map(({ id }) => id)
    const a = random.pick(peers)
    const others = [...peers, ...CLIENT_IDS.slice(0, clients.length)].filter((id) => id !== a)
    const b = random.pick(others)
    return random.is(0.5) ? [a, b] : [b, a]
  }

  private cut(from: string, to: string, ms: number): void {
    const { network, scheduler } = this.init
    network.block(from, to)
    if (ms < Infinity) scheduler.after(ms, 'link is back', () => network.unblock(from, to))
  }

  private crash(peer: SimPeer, random: RandomSource): void {
    const crash = (): void => {
      if (this.stopped) return
      peer.crash(random.is(0.5))
      this.restart(peer, random.exponential(600))
    }
    if (random.is(0.6)) peer.moments.inWrite(crash)
    else crash()
  }

  private stopPeer(peer: SimPeer, random: RandomSource): void {
    void peer.stop().then(() => this.restart(peer, random.exponential(200)))
  }

  private transfer(leader: SimPeer, random: RandomSource): void {
    const others = this.installed.filter((peer) => peer !== leader)
    // All others may have left.
    if (others.length === 0) return
    const to = random.pick(others)
    leader.core?.root.node?.transferLeadership(to.member).catch(() => {})
  }

  private rot(random: RandomSource): void {
    this.rotten ??= random.pick(this.installed)
    for (let tries = 12; tries > 0; tries--)
      if (this.rotten.rot(random)) this.init.coverage.add('rows of pages damaged')
  }

  /** Proposes a longer round trip than the real one, or the original round trip. */
  private retime(leader: SimPeer, random: RandomSource): void {
    const { settings, coverage } = this.init
    const roundTripMs = Math.min(MAX_ROUND_TRIP_MS, settings.roundTripMs * random.pick([1, 2, 3]))
    try {
      leader.core?.proposeRoundTrip(roundTripMs)
      coverage.add('changes of the round trip')
    } catch (error) {
      coverage.add(`changes of the round trip refused: ${(error as Error).name}`)
      if (!PATIENCE.includes((error as Error).name)) throw error
    }
  }

  private restart(node: SimPeer | SimClient, ms: number): void {
    const { scheduler } = this.init
    scheduler.after(ms, 'restart', () => this.startAgain(node))
  }

  private startAgain(node: SimPeer | SimClient): void {
    if (node.process === undefined && node.isInstalled) node.start()
  }
}
