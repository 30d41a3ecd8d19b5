/** Trouble that a run makes. */
import type { RandomSource } from '@quire/testing'
import type { Client } from '../client/client.js'
import type { ChaosCluster } from '../cluster/cluster.js'
import type { Peer } from '../cluster/peer.js'
import type { Lines, Machine } from '../machines/machine.js'

/** The groups that a user chooses from. */
export const FAULT_KINDS = ['kill', 'stop', 'partition', 'members', 'disk', 'power', 'clock'] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export const LANES = ['processes', 'lines'] as const

/** What faults happen to. */
export interface World {
  readonly cluster: ChaosCluster
  readonly clients: readonly Client[]
  readonly lines: Lines | undefined
  readonly random: RandomSource
  /** Resolves after the time. */
  readonly pause: (ms: number) => Promise<void>
}

export interface Fault {
  readonly kind: FaultKind
  readonly name: string
  /** Faults of one lane come one after the other. Those of the other lane may come at the same time. */
  readonly lane: (typeof LANES)[number]
  /** Why no run on this machine can make it; undefined if one can. */
  readonly whyNot?: () => string | undefined
  /** Prepares a peer before its first start. */
  readonly prepare?: (peer: Peer) => Promise<void>
  /** Undoes `prepare`, after the last process of the peer. */
  readonly release?: (peer: Peer) => Promise<void>
  /** How many a run makes in a minute. */
  readonly perMinute: number
  /**
   * Makes the trouble and ends it. `begins` names it when it is certain what it hits; a fault that finds nothing to hit
   * does not call it.
   */
  make(world: World, begins: (what: string) => void): Promise<void>
}

/** The leader in half of all cases, if there is one, and otherwise any peer. */
export async function oftenTheLeader({ cluster, random }: World): Promise<Peer> {
  const leader = random.is(0.5) ? await cluster.leader() : undefined
  return leader ?? random.pick(cluster.members)
}

export function machinesOf({ cluster, clients }: World): Machine[] {
  return [...cluster.members, ...clients].map(({ machine }) => machine)
}
