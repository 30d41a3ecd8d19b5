import type { ClientSettings } from './clients.js'
import type { FaultSettings } from './faults.js'
import type { NetworkInit } from './network-types.js'
import type { PeerSettings } from './peer-settings.js'

/** The settings of one seed. */
export interface Settings {
  /** The purpose of this seed, if it has a particular one. */
  readonly mixes: readonly string[]
  /** An operator changes the members of the cluster. */
  readonly isAdministered: boolean
  readonly clients: number
  /** Raft's frames are lost, dials fail, and disks and frames are occasionally slow. */
  readonly isNoisy: boolean
  /** True time during which faults occur. */
  readonly faultyMs: number
  readonly peer: PeerSettings
  readonly client: ClientSettings
  readonly network: Omit<NetworkInit, 'scheduler' | 'random' | 'coverage'>
  readonly faults: FaultSettings
}
