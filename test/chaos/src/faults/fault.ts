/** Trouble that a run makes. */
import type { RandomSource } from '@quire/testing'
import type { Client } from '../client/client.js'
import type { Cluster } from '../cluster/cluster.js'
import type { OwnCluster } from '../cluster/own-cluster.js'
import type { OwnPeer } from '../cluster/own-peer.js'
import type { Peer } from '../cluster/peer.js'

/** The groups that a user chooses from. */
export const FAULT_KINDS = ['kill', 'stop', 'partition', 'members', 'disk', 'rot', 'power', 'clock'] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export const LANES = ['processes', 'lines'] as const

/** What faults happen to. */
export interface World<C extends Cluster = Cluster> {
  readonly cluster: C
  readonly clients: readonly Client[]
  /** Starts a new client in the place of one that has ended. */
  readonly replace: (client: Client) => Promise<void>
  readonly random: RandomSource
  /** Resolves after the time. */
  readonly pause: (ms: number) => Promise<void>
}

/** A fault that hits a cluster of this type: any one, if the type says no more. */
export interface Fault<C extends Cluster = Cluster> {
  readonly kind: FaultKind
  readonly name: string
  /** Faults of one lane come one after the other. Those of the other lane may come at the same time. */
  readonly lane: (typeof LANES)[number]
  /** How many a run makes in a minute. */
  readonly perMinute: number
  /** What it needs of a cluster, in words; undefined if every cluster has it. The file of a user's one may offer it. */
  readonly needs: string | undefined
  /** Why no run on this machine can make it; undefined if one can. */
  readonly whyNot?: () => string | undefined
  /**
   * Makes the trouble and ends it. `begins` names it when it is certain what it hits; a fault that finds nothing to hit
   * does not call it.
   */
  readonly make: (world: World<C>, begins: (what: string) => void) => Promise<void>
}

/** A fault of a run's own cluster. */
export interface OwnFault extends Fault<OwnCluster> {
  /** Prepares a peer before its first start. */
  readonly prepare?: (peer: OwnPeer) => Promise<void>
  /** Undoes `prepare`, after the last process of the peer. */
  readonly release?: (peer: OwnPeer) => Promise<void>
}

/** The leader in half of all cases, if it is one of the peers, and otherwise any of them. */
export async function oftenTheLeader<P extends Peer>({ cluster, random }: World, peers: readonly P[]): Promise<P> {
  const leader = random.is(0.5) ? await cluster.operator.leader() : undefined
  return peers.find(({ name }) => name === leader?.name) ?? random.pick(peers)
}
