/** What a data directory is to a replica, in memory. It outlives the processes that open it. */
import { foundingDigest } from '../../src/peer/founding.js'
import type { JoinedCluster } from '../../src/peer/joining.js'
import type { MemoryIdentity } from '../../src/peer/memory-identity.js'
import type { ReplicaStorage } from '../../src/peer/replica.js'
import type { ReplicatedConfig } from '../../src/state/index.js'

export interface MemoryReplicaInit extends Pick<ReplicaStorage, 'openLogDisk' | 'pages'> {
  readonly identity: MemoryIdentity
  /** The configuration that the cluster was founded from. */
  readonly founding: ReplicatedConfig
  readonly joinedCluster?: JoinedCluster | undefined
}

export function memoryReplica(init: MemoryReplicaInit): ReplicaStorage {
  const { identity, founding, joinedCluster, openLogDisk, pages } = init
  let bootstrapped = false
  return {
    identity,
    clusterId: founding.clusterId,
    founding: foundingDigest(founding),
    joinedCluster,
    get bootstrapped() {
      return bootstrapped
    },
    completeBootstrap: () => {
      bootstrapped = true
    },
    logPath: 'log',
    pagesPath: 'pages',
    openLogDisk,
    pages
  }
}
