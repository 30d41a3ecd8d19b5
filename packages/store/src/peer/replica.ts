/** What a peer keeps on disk: the Raft log and the page store, opened together and checked against each other. */
import { createSegmentedLog, type Entry, type RaftLog } from '@quire/raft'
import { createNodeDisk } from '@quire/raft/node-disk'
import { CorruptionError, decode, raftConfiguration, type Clock, type RaftConfiguration } from '@quire/protocol'
import { join } from 'node:path'
import {
  createApplier,
  createLmdbBackend,
  createPageStore,
  type Applier,
  type AppliedListener,
  type CommittedEntry
} from '../pages/index.js'
import { clusterConfig, type ReplicatedConfig } from '../state/index.js'
import { encodeCluster } from './cluster.js'
import type { DataDirectory } from './data-dir.js'

export interface ReplicaInit {
  readonly directory: DataDirectory
  readonly peerId: string
  /** For a directory that is new. */
  readonly cluster: ReplicatedConfig | undefined
  readonly clock: Clock
  readonly onApplied: AppliedListener
  readonly onFault: (fault: Error | undefined) => void
}

export interface Replica {
  readonly log: RaftLog
  readonly applier: Applier
  /** The newest configuration in the log, applied or not: who may connect before anything is applied. */
  readonly config: ReplicatedConfig
  apply(entries: readonly Entry[]): void | Promise<void>
}

/** Opens what is there, or founds the cluster's log. Rejects with CorruptionError or VersionMismatchError; nothing is open then. */
export async function openReplica(init: ReplicaInit): Promise<Replica> {
  const { directory, peerId, cluster } = init
  const log = await createSegmentedLog({
    disk: createNodeDisk(directory.logPath),
    identity: `${directory.clusterId} ${peerId}`,
    ...(directory.bootstrapped || cluster === undefined ? {} : { bootstrap: firstConfiguration(cluster) })
  })
  try {
    const config = newestConfig(log, directory.logPath)
    const applier = openPages(init)
    try {
      checkTogether(log, applier, directory)
      if (!directory.bootstrapped) directory.completeBootstrap()
      return {
        log,
        applier,
        config: applier.state.config ?? config,
        apply: (entries) => applier.apply(entries.map(committed))
      }
    } catch (error) {
      await applier.close()
      throw error
    }
  } catch (error) {
    await log.close()
    throw error
  }
}

function openPages({ directory, clock, onApplied, onFault }: ReplicaInit): Applier {
  const backend = createLmdbBackend({ path: join(directory.pagesPath, 'pages.lmdb') })
  const store = createPageStore({ backend })
  return createApplier({ store, clock, onApplied, onFault })
}

function firstConfiguration(cluster: ReplicatedConfig): RaftConfiguration {
  return { voters: cluster.voters.map((voter) => voter.peerId), learners: [], context: encodeCluster(cluster) }
}

function newestConfig(log: RaftLog, where: string): ReplicatedConfig {
  for (const entry of log.configurations.toReversed()) {
    const { context } = decode(raftConfiguration, entry.data)
    if (context.length > 0) return decode(clusterConfig, context)
  }
  throw new CorruptionError(where, 0, 'the log has no configuration of the cluster')
}

/** The page store never runs ahead of the log, and the log is dropped only as far as the page store is durable. */
function checkTogether(log: RaftLog, applier: Applier, directory: DataDirectory): void {
  if (applier.appliedIndex > log.lastIndex) {
    throw new CorruptionError(
      directory.logPath,
      0,
      `it ends at entry ${log.lastIndex}, the pages hold entry ${applier.appliedIndex}`
    )
  }
  if (applier.appliedIndex + 1 < log.firstIndex) {
    const reason = `they hold entry ${applier.appliedIndex}, the log starts at ${log.firstIndex}`
    throw new CorruptionError(directory.pagesPath, 0, reason)
  }
}

/** Raft's configuration entries carry the application's part inside. */
function committed(entry: Entry): CommittedEntry {
  if (entry.kind !== 'config') return entry
  return { ...entry, data: decode(raftConfiguration, entry.data).context }
}
