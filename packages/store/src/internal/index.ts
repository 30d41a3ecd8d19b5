/**
 * @packageDocumentation
 *
 * Not the API: a peer without its process, which may change in any release.
 *
 * The simulator and other tests bring a network, a clock and disks of their own.
 */
export { Directory } from '../directory/directory.js'
export { createMemoryStorage, type MemoryStorage, type MemoryStorageInit } from '../pages/memory-backend.js'
export type * from '../pages/backend.js'
export { createPageStore } from '../pages/page-store.js'
export { readInstalled } from '../pages/record-rows.js'
export { mayConnect, normalizeCluster, type ClusterConfig } from '../peer/cluster.js'
export { askToJoin, type JoinedCluster } from '../peer/joining.js'
export { openPeerCore, type PeerCore, type PeerCoreComponents, type PeerCoreInit } from '../peer/peer-core.js'
export type { PeerStatus } from '../peer/peer-status.js'
export { foundingDigest } from '../peer/founding.js'
export { decodeMemory } from '../peer/identity.js'
export { createMemoryIdentity, type MemoryIdentity } from '../peer/memory-identity.js'
export type { ReplicaLimits, ReplicaStorage } from '../peer/replica.js'
export type { ServerLimits } from '../server/limits.js'
export { clusterConfig, type ReplicatedConfig } from '../state/commands.js'
export { DamagedPageError } from '../state/damaged-page.js'
export {
  createStateMachine,
  decodeCommand,
  encodeCommand,
  encodeRecord,
  type Command,
  type StateMachine,
  type StateStore
} from '../state/index.js'
export type * from '../state/view.js'
