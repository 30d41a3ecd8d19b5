/** What goes wrong: one fault after the other, several at a time, until it is enough. */
import type { SimClient } from './clients.js'
import type { Coverage } from './coverage.js'
import { CLIENT_IDS, PEER_IDS } from './ids.js'
import type { SimNetwork } from './network.js'
import type { SimPeer } from './peers.js'
import type { Chance } from './random.js'
import type { Scheduler } from './scheduler.js'

export type Fault =
  | 'crashPeer'
  | 'crashLeader'
  | 'stopPeer'
  | 'crashClient'
  | 'closeClient'
  | 'stallPeer'
  | 'stallLeader'
  | 'stallClient'
  | 'isolateLeader'
  | 'partition'
  | 'partitionOneWay'
  | 'breakStream'
  | 'breakConnection'
  | 'slowLink'
export const FAULTS: readonly Fault[] = [
  'crashPeer',
  'crashLeader',
  'stopPeer',
  'crashClient',
  'closeClient',
  'stallPeer',
  'stallLeader',
  'stallClient',
  'isolateLeader',
  'partition',
  'partitionOneWay',
  'breakStream',
  'breakConnection',
  'slowLink'
]

export interface FaultSettings {
  /** Mean time between two. */
  readonly everyMs: number
  readonly weights: Readonly<Record<Fault, number>>
  /** Sessions' time to live: what lasts longer costs sessions. */
  readonly ttlMs: number
}

export interface FaultInit {
  readonly scheduler: Scheduler
  readonly chance: Chance
  readonly coverage: Coverage
  readonly network: SimNetwork
  readonly peers: readonly SimPeer[]
  readonly clients: readonly SimClient[]
  readonly settings: FaultSettings
}

export class Faults {
  private stopped = false

  constructor(private readonly init: FaultInit) {}

  start(): void {
    this.next()
  }

  /** No new fault, and every old one is over. */
  stop(): void {
    this.stopped = true
    const { network, peers, clients } = this.init
    network.heal()
    network.isFaulty = false
    for (const node of [...peers, ...clients]) if (node.process === undefined) node.start()
  }

  private next(): void {
    const { scheduler, chance, settings } = this.init
    scheduler.after(chance.exponential(settings.everyMs), 'fault', () => {
      if (this.stopped) return
      this.happen(this.pick())
      this.next()
    })
  }

  private pick(): Fault {
    const { chance, settings } = this.init
    let at = chance.next() * FAULTS.reduce((sum, fault) => sum + settings.weights[fault], 0)
    for (const fault of FAULTS) {
      at -= settings.weights[fault]
      if (at < 0) return fault
    }
    return 'breakStream'
  }

  private happen(fault: Fault): void {
    const { chance, coverage, network, peers, clients, settings } = this.init
    coverage.add(`fault: ${fault}`)
    const leader = this.leader() ?? chance.pick(peers)
    const client = chance.pick(clients)
    const long = chance.exponential(settings.ttlMs)
    switch (fault) {
      case 'crashPeer':
        return this.crash(chance.pick(peers))
      case 'crashLeader':
        return this.crash(leader)
      case 'stopPeer':
        return this.stopPeer(chance.pick(peers))
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
      case 'partition':
      case 'partitionOneWay': {
        const [a, b] = this.pair()
        coverage.add('partitions')
        this.cut(a, b, long)
        if (fault === 'partition') this.cut(b, a, long)
        return
      }
      case 'breakStream':
      case 'breakConnection': {
        const streams = [...network.streams]
        if (streams.length > 0) network.breakStream(chance.pick(streams), fault === 'breakConnection')
        return
      }
      case 'slowLink': {
        const [a, b] = this.pair()
        network.slowDown(a, b, chance.between(5, 50))
        this.init.scheduler.after(long, 'link is fast again', () => network.slowDown(a, b, 1))
      }
    }
  }

  private leader(): SimPeer | undefined {
    return this.init.peers.find((peer) => peer.core?.node?.status().role === 'leader')
  }

  /** Two nodes that talk to each other: one is a peer. */
  private pair(): [string, string] {
    const { chance, clients } = this.init
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

  private crash(peer: SimPeer): void {
    const { chance } = this.init
    const crash = (): void => {
      if (this.stopped) return
      peer.crash(chance.is(0.5))
      this.restart(peer, chance.exponential(600))
    }
    if (chance.is(0.6)) peer.crashInWrite(crash)
    else crash()
  }

  private stopPeer(peer: SimPeer): void {
    const { chance } = this.init
    void peer.stop().then(() => this.restart(peer, chance.exponential(200)))
  }

  private restart(node: SimPeer | SimClient, ms: number): void {
    const { scheduler } = this.init
    scheduler.after(ms, 'restart', () => {
      if (node.process === undefined) node.start()
    })
  }
}
