/**
 * @packageDocumentation
 *
 * Not the API: the command line's share of a peer, which may change in any release.
 *
 * A command starts quickly because nothing here loads the modules of a peer: no Raft, no LMDB.
 */
export { stagePercentile, type StageReport } from '../observability/stages.js'
export { NO_ADMIN } from '../peer/administration.js'
export { UNLISTED, formatClusterFile, normalizeCluster, parseClusterFile, type ClusterConfig } from '../peer/cluster.js'
export {
  DescriptorLimitError,
  RESERVED_DESCRIPTORS,
  WANTED_CONNECTIONS,
  descriptors,
  limitConnections,
  type Descriptors
} from '../peer/descriptors.js'
export { DataDirectoryError, inspectDataDirectory, type DataDirectoryOwner } from '../peer/directory-identity.js'
export { createFile, folderProblem, makeFolder, replaceFile, temporaryBeside } from '../peer/durable.js'
export { syncFolder } from '@quire/raft/node-disk'
export { foundingDigest } from '../peer/founding.js'
export { checkListen } from '../peer/listen.js'
