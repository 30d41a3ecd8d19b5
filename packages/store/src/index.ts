/**
 * @packageDocumentation
 *
 * A peer of a Quire cluster: the replicated page store, the directory of page owners, and the server of client
 * sessions.
 *
 * @example
 * ```ts
 * const peer = await createPeer({
 *   dataDir: '/var/lib/quire',
 *   privateKey,
 *   listen: ['/ip4/0.0.0.0/tcp/4001'],
 *   cluster: { clusterId: 'blue', voters, admins: [], clients: 'any' }
 * })
 * console.log(peer.multiaddrs, peer.status().role)
 * await peer.close()
 * ```
 */
export type { ClusterConfig, PeerIdLike } from './peer/cluster.js'
export { formatClusterFile, parseClusterFile } from './peer/cluster.js'
export { DataDirectoryError } from './peer/directory-identity.js'
export { DescriptorLimitError } from './peer/descriptors.js'
export { FolderInUseError } from './peer/folder-lock.js'
export { createPeer, type Peer, type PeerInit } from './peer/peer.js'
export type { JoinInit } from './peer/peer-joining.js'
export type { DiskSpace, DiskStatus } from './peer/disk-watch.js'
export type { PeerStatus } from './peer/peer-status.js'
export type { StoreStatus, StoreUsage } from './peer/group.js'
export { PageStoreError, type ReceivedSnapshot, type SentSnapshot } from './pages/index.js'
export { ListenError } from '@quire/net'
export { stagePercentile, type StageReport } from './observability/stages.js'
