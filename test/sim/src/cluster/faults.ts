/** What goes wrong: one numbered fault after the other, several at a time, until it is enough. */
import type { SimClient } from './clients.js'
import { MAX_ROUND_TRIP_MS, PROTOCOL_RAFT } from '@quire/protocol'
import type { Coverage } from '../coverage.js'
import { CLIENT_IDS, PEER_IDS } from './ids.js'
import type { Memories } from './memories.js'
import type { SimNetwork } from './network.js'
import { OldFolders } from './old-folders.js'
import type { SimPeer } from './peers.js'
import type { Stream } from './stream.js'
import type { Chance } from '../random.js'
import type { Scheduler } from '../scheduler.js'
import type { Violation } from '../violation.js'

/** Every kind, and how common it is. */
export const COMMON = {
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
  /** Not in every mix: see the settings. */
  retime: 0
} as const

export type Fault = keyof typeof COMMON
export const FAULTS = Object.keys(COMMON) as Fault[]
export const DRAWN_FAULTS = FAULTS.filter((fault) => fault !== 'retime')

export interface FaultSettings {
  /** Mean time between two. */
  readonly everyMs: number
  readonly weights: Readonly<Record<Fault, number>>
  /** Streams break between clients and peers alone. */
  readonly areClientsOnly: boolean
  /** What the cluster was founded with: the operator asks for no less. */
  readonly roundTripMs: number
  /** Sessions' time to live: what lasts longer costs sessions. */
  readonly ttlMs: number
}

/** Errors that ask the operator for patience. */
const PATIENCE = ['NotLeaderError', 'ChangePendingError', 'BackPressureError']

export interface FaultInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly network: SimNetwork
  readonly peers: readonly SimPeer[]
  readonly clients: readonly SimClient[]
  readonly memories: Memories
  readonly settings: FaultSettings
  readonly onViolation: (error: Violation) => void
}

export class Faults {
  private stopped = false
  private readonly oldFolders: OldFolders

  constructor(private readonly init: FaultInit) {
    const { scheduler, coverage, peers, memories, onViolation } = init
    const restart = (peer: SimPeer, ms: number): void => this.restart(peer, ms)
    const leader = (): SimPeer | undefined => this.leader()
    this.oldFolders = new OldFolders({ scheduler, coverage, peers, memories, restart, leader, onViolation })
  }

  /** No new fault, and every old one is over. */
  stop(): void {
    this.stopped = true
    this.oldFolders.stop()
    const { network, peers, clients } = this.init
    network.heal()
    network.isFaulty = false
    for (const node of [...peers, ...clients]) if (node.process === undefined) node.start()
  }

  happen(fault: Fault, chance: Chance): void {
    if (this.stopped) return
    const { coverage, network, peers, clients, settings } = this.init
    coverage.add(`fault: ${fault}`)
    const leader = this.leader() ?? chance.pick(peers)
    const client = chance.pick(clients)
    const long = chance.exponential(settings.ttlMs)
    switch (fault) {
      case 'crashPeer':
        return this.crash(chance.pick(peers), chance)
      case 'crashLeader':
        return this.crash(leader, chance)
      case 'stopPeer':
        return this.stopPeer(chance.pick(peers), chance)
      case 'transferLeader':
        return this.transfer(leader, chance)
      case 'retime':
        return this.retime(leader, chance)
      case 'crashClient':
        client.crash(chance.is(0.5))
        return this.restart(client, chance.exponential(settings.ttlMs / 2))
      case 'closeClient':
        void client.closeAndLeave().then(() => this.restart(client, chance.exponential(100)))
        return
      case 'stallPeer':
        return chance.pick(peers).process?.stall(chance.exponential(300))
      case 'stallLeader':
        return leader.process?.stall(long)
      case 'stallClient':
        return client.process?.stall(long)
      case 'isolateLeader': {
        const isWhole = chance.is(0.5)
        coverage.add('partitions')
        for (const peer of PEER_IDS) {
          if (peer === leader.id) continue
          this.cut(leader.id, peer, long * 1.5)
          if (isWhole) this.cut(peer, leader.id, long * 1.5)
        }
        return
      }
      case 'isolateClient': {
        const ms = long * 1.5
        coverage.add('partitions')
        for (const peer of PEER_IDS) {
          this.cut(client.id, peer, ms)
          this.cut(peer, client.id, ms)
        }
        return
      }
      case 'partition':
      case 'partitionOneWay': {
        const [a, b] = this.pair(chance)
        coverage.add('partitions')
        this.cut(a, b, long)
        if (fault === 'partition') this.cut(b, a, long)
        return
      }
      case 'breakStream':
      case 'breakConnection': {
        const streams = settings.areClientsOnly ? this.clientStreams() : [...network.streams]
        if (streams.length > 0) network.breakStream(chance.pick(streams), fault === 'breakConnection')
        return
      }
      case 'slowStream': {
        const streams = this.clientStreams()
        if (streams.length > 0) network.delayStream(chance.pick(streams), chance, chance.between(5, 100))
        return
      }
      case 'slowLink': {
        const [a, b] = this.pair(chance)
        network.slowDown(a, b, chance.between(5, 50))
        this.init.scheduler.after(long, 'link is fast again', () => network.slowDown(a, b, 1))
        return
      }
      case 'oldFolder':
        return this.oldFolders.begin(chance.pick(peers), chance)
    }
  }

  private clientStreams(): Stream[] {
    return [...this.init.network.streams].filter(({ protocol }) => protocol !== PROTOCOL_RAFT)
  }

  private leader(): SimPeer | undefined {
    return this.init.peers.find((peer) => peer.core?.root.node?.status().role === 'leader')
  }

  /** Two nodes that talk to each other: one is a peer. */
  private pair(chance: Chance): [string, string] {
    const { clients } = this.init
    const a = chance.pick(PEER_IDS)
    const others = [...PEER_IDS, ...CLIENT_IDS.slice(0, clients.length)].filter((id) => id !== a)
    const b = chance.pick(others)
    return chance.is(0.5) ? [a, b] : [b, a]
  }

  private cut(from: string, to: string, ms: number): void {
    const { network, scheduler } = this.init
    network.block(from, to)
    scheduler.after(ms, 'link is back', () => network.unblock(from, to))
  }

  private crash(peer: SimPeer, chance: Chance): void {
    const crash = (): void => {
      if (this.stopped) return
      peer.crash(chance.is(0.5))
      this.restart(peer, chance.exponential(600))
    }
    if (chance.is(0.6)) peer.crashInWrite(crash)
    else crash()
  }

  private stopPeer(peer: SimPeer, chance: Chance): void {
    void peer.stop().then(() => this.restart(peer, chance.exponential(200)))
  }

  private transfer(leader: SimPeer, chance: Chance): void {
    const to = chance.pick(PEER_IDS.filter((id) => id !== leader.id))
    leader.core?.root.node?.transferLeadership(to).catch(() => {})
  }

  /** Time-outs for a longer way than there is, or those of the founding again. */
  private retime(leader: SimPeer, chance: Chance): void {
    const { settings, coverage } = this.init
    const roundTripMs = Math.min(MAX_ROUND_TRIP_MS, settings.roundTripMs * chance.pick([1, 2, 3]))
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
    scheduler.after(ms, 'restart', () => {
      if (node.process === undefined) node.start()
    })
  }
}
