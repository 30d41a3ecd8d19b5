/** A peer's part of a group on disk: the Raft log and the page store, which are opened and checked together. */
import {
  LogNotInitializedError,
  createSegmentedLog,
  type Disk,
  type Entry,
  type LogCreation,
  type RaftLog
} from '@quire/raft'
import {
  CorruptionError,
  InvalidArgumentError,
  NotAuthorizedError,
  decode,
  raftConfiguration,
  type Clock,
  type RaftSnapshot
} from '@quire/protocol'
import {
  createApplier,
  createPageStore,
  Snapshots,
  type Applier,
  type AppliedListener,
  type ApplierInit,
  type BackendStorage,
  type CommittedEntry,
  type Divergence,
  type ScrubLimits,
  type SnapshotLimits,
  type SnapshotsInit
} from '../pages/index.js'
import { clusterConfig, type ReplicatedConfig } from '../state/index.js'
import type { Stages } from '../observability/stages.js'
import { encodeCluster } from './cluster.js'
import { foundingDifference, foundingDigest } from './founding.js'
import { memberIn, type IdentityStorage } from './identity.js'
import type { JoinedCluster } from './joining.js'
import { rejoinOption } from './rejoining.js'
import { timedDisk } from './timed-disk.js'

/** Stores a replica: a data directory, or the simulator's memory. */
export interface ReplicaStorage {
  readonly identity: IdentityStorage
  readonly clusterId: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** The cluster that the peer has joined; undefined for a founding voter. */
  readonly joinedCluster: JoinedCluster | undefined
  /** False until `completeBootstrap`: the log has no entry yet. */
  readonly bootstrapped: boolean
  /** The first log entry is durable. From now on, the log decides. */
  completeBootstrap(): void
  /** For error messages. */
  readonly logPath: string
  readonly pagesPath: string
  openLogDisk(): Disk
  readonly pages: BackendStorage
}

/** Defaults are those of the log, the page store and the applier. */
export interface ReplicaLimits {
  readonly segmentBytes?: number
  readonly logCacheBytes?: number
  readonly maxMemtableBytes?: number
  readonly checkpointEntries?: number
  readonly checkpointIntervalMs?: number
  /** For tests: see `Owners`. */
  readonly maxReleased?: number
  readonly snapshots?: Partial<SnapshotLimits>
  /** `intervalMs` is the time between two comparisons while this peer leads; Infinity if it proposes none. */
  readonly scrub?: Partial<ScrubLimits> & { readonly intervalMs?: number | undefined }
}

export interface ReplicaInit {
  readonly storage: ReplicaStorage
  readonly peerId: string
  /** For a storage that is new; an older one must have been founded from the same configuration. */
  readonly cluster: ReplicatedConfig | undefined
  readonly clock: Clock
  readonly stages: Stages
  readonly limits?: ReplicaLimits | undefined
  readonly onApplied: AppliedListener
  readonly onFault: (fault: Error | undefined) => void
  /**
   * The page store has durably become the state after the entry at `index`, which the log may now drop. Called again
   * when the log kept entries before that for a follower, and need not any more.
   */
  readonly onCheckpoint: (index: number) => void
  readonly onCompare: NonNullable<ApplierInit['onCompare']>
  readonly matchIndex: SnapshotsInit['matchIndex']
  readonly onInstalled: SnapshotsInit['onInstalled']
  readonly onRefused?: SnapshotsInit['onRefused']
  readonly onTransferBegun?: SnapshotsInit['onTransferBegun']
  readonly onTransferEnded?: SnapshotsInit['onTransferEnded']
  readonly onDamagedPage?: SnapshotsInit['onDamagedPage']
}

export interface Replica {
  readonly log: RaftLog
  readonly applier: Applier
  readonly snapshots: Snapshots
  /**
   * The newest configuration in the log that is known to be committed, even if it is not applied. Until entries are
   * applied, it decides who may connect.
   */
  readonly config: ReplicatedConfig
  /** The configuration that the cluster was founded from. */
  readonly founding: ReplicatedConfig
  apply(entries: readonly Entry[]): void | Promise<void>
  /** The error of a peer whose state is not that of the others, which names the remedy. */
  divergenceError(divergence: Divergence): CorruptionError
}

/**
 * Opens the log and the page store, or founds the log of a cluster. Rejects, with nothing left open, with
 * CorruptionError, VersionMismatchError, or NoSpaceError.
 */
export async function openReplica(init: ReplicaInit): Promise<Replica> {
  const { storage, peerId, cluster, limits = {} } = init
  const onFault = joinFaults(init.onFault)
  const log = await createSegmentedLog({
    disk: timedDisk(storage.openLogDisk(), init.stages),
    identity: `${storage.clusterId} ${peerId}`,
    segmentBytes: limits.segmentBytes,
    cacheBytes: limits.logCacheBytes,
    clock: init.clock,
    onSpace: (fault) => onFault('log', fault),
    create: storage.bootstrapped ? undefined : creation(storage, cluster)
  }).catch((error: unknown) => {
    if (!(error instanceof LogNotInitializedError)) throw locateDamage(error, storage, peerId)
    if (storage.bootstrapped)
      throw new CorruptionError(storage.logPath, 0, `the log is gone; ${logRemedy(storage, peerId)}`)
    throw new InvalidArgumentError('cluster', '', 'what the peer was first started with: it has founded no log yet')
  })
  try {
    const config = newestCommittedConfig(log, storage)
    const applier = await openPages({ ...init, onFault: (fault) => onFault('pages', fault) })
    try {
      if (applier.diverged !== undefined) throw diverged(storage, peerId, applier.diverged)
      checkTogether(log, applier, init)
      await finishInstallation(log, applier)
      const founding = foundingOf(log, applier, storage)
      if (cluster !== undefined) checkFounding(init, founding, cluster)
      if (!storage.bootstrapped) storage.completeBootstrap()
      const snapshots = new Snapshots({
        storage: storage.pages,
        applier,
        clock: init.clock,
        indexBefore: (bytes) => log.indexBefore(bytes),
        matchIndex: init.matchIndex,
        onReleased: () => init.onCheckpoint(applier.durableIndex),
        newest: newestSnapshot(log, applier.durableIndex),
        limits: limits.snapshots,
        onFault: (fault) => onFault('snapshot', fault),
        onInstalled: init.onInstalled,
        onRefused: init.onRefused,
        onTransferBegun: init.onTransferBegun,
        onTransferEnded: init.onTransferEnded,
        onDamagedPage: init.onDamagedPage
      })
      return {
        log,
        applier,
        snapshots,
        config: newer(applier.state.config, config),
        founding,
        apply: (entries) => init.stages.time('entries.apply', () => applier.apply(entries.map(committed))),
        divergenceError: (divergence) => diverged(storage, peerId, divergence)
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

/** The names of the log's files: its segments and its hard state. */
const LOG_FILE = /^([0-9a-f]+-[0-9a-f]+\.log|hard-state)$/

/** Adds the folder's path and the remedy to an error of the log, which names a file without its folder. */
export function locateDamage<E>(error: E, storage: ReplicaStorage, peerId: string): E | CorruptionError {
  if (!(error instanceof CorruptionError) || !LOG_FILE.test(error.where)) return error
  const { where, offset, reason } = error
  return new CorruptionError(`${storage.logPath}/${where}`, offset, `${reason}; ${logRemedy(storage, peerId)}`)
}

function logRemedy(storage: ReplicaStorage, peerId: string): string {
  return `restore the disk's newest state, or ${rejoin(storage, peerId)}`
}

function diverged(storage: ReplicaStorage, peerId: string, { index, hash, agreed }: Divergence): CorruptionError {
  const states = `its state after entry ${index} has the hash ${hash}, but that of a majority of the voters has ${agreed}`
  return new CorruptionError(storage.pagesPath, undefined, `${states}; ${rejoin(storage, peerId)}`)
}

function rejoin(storage: ReplicaStorage, peerId: string): string {
  return `start the peer with --join and ${rejoinOption(memberIn({ id: peerId, storage: storage.identity }))} (docs/operations.md)`
}

type FaultSource = 'log' | 'pages' | 'snapshot'

/**
 * Joins the faults of the parts, which run out of space separately. Writes are accepted again when all have room.
 */
function joinFaults(onFault: ReplicaInit['onFault']): (of: FaultSource, fault: Error | undefined) => void {
  const faults: { [of in FaultSource]?: Error | undefined } = {}
  let reported: Error | undefined
  return (of, fault) => {
    faults[of] = fault
    const now = faults.pages ?? faults.log ?? faults.snapshot
    if (now === reported) return
    reported = now
    onFault(now)
  }
}

async function openPages(init: ReplicaInit): Promise<Applier> {
  const { storage, clock, limits = {}, onApplied, onCheckpoint, onCompare, onDamagedPage, onFault } = init
  const { maxMemtableBytes, checkpointEntries, checkpointIntervalMs, maxReleased } = limits
  const backend = storage.pages.open()
  try {
    const store = createPageStore({ backend, maxMemtableBytes, onLost: onDamagedPage })
    const listeners = { onApplied, onCheckpoint, onCompare, onFault }
    return createApplier({ store, clock, checkpointEntries, checkpointIntervalMs, maxReleased, ...listeners })
  } catch (error) {
    await backend.close()
    throw error
  }
}

function creation({ joinedCluster }: ReplicaStorage, cluster: ReplicatedConfig | undefined): LogCreation | undefined {
  if (joinedCluster !== undefined) return { join: true }
  return cluster && foundation(cluster)
}

function foundation(cluster: ReplicatedConfig): LogCreation {
  const voters = cluster.members.map(({ peerId }) => peerId)
  return { bootstrap: { voters, learners: [], context: encodeCluster(cluster) } }
}

/**
 * An entry that is not known to be committed may give way to another one. Its configuration must not take effect, and
 * must not reach other members, for which it would be newer than theirs.
 */
function newestCommittedConfig(log: RaftLog, { joinedCluster, logPath }: ReplicaStorage): ReplicatedConfig {
  // The durable commit index may lie before the first entry: a checkpoint needs no write of the hard state.
  const commit = Math.max(log.hardState.commit, log.firstIndex - 1)
  const committed = log.configurations.filter(({ index }) => index <= commit)
  for (const entry of committed.toReversed()) {
    const { context } = decode(raftConfiguration, entry.data)
    if (context.length > 0) return newer(joinedCluster?.config, decode(clusterConfig, context))
  }
  if (joinedCluster !== undefined) return joinedCluster.config
  throw new CorruptionError(logPath, 0, 'the log has no configuration of the cluster')
}

/** A peer that catches up has older configurations in its log than the one with which it has joined. */
function newer(one: ReplicatedConfig | undefined, other: ReplicatedConfig): ReplicatedConfig {
  return one === undefined || one.revision < other.revision ? other : one
}

/**
 * Returns the founding configuration from the state, or from the first entry if that is not applied yet. Checks it
 * against the digest of the directory.
 */
function foundingOf(log: RaftLog, applier: Applier, storage: ReplicaStorage): ReplicatedConfig {
  const founding = applier.state.founding ?? storage.joinedCluster?.founding ?? firstConfig(log)
  if (founding === undefined) {
    throw new CorruptionError(storage.pagesPath, 0, 'neither the pages nor the log have a founding configuration')
  }
  const digest = foundingDigest(founding)
  if (digest !== storage.founding) {
    throw new CorruptionError(
      storage.pagesPath,
      0,
      `its founding digest is ${digest}, but the directory's is ${storage.founding}`
    )
  }
  return founding
}

/**
 * A given configuration that differs from the founding one is an operator's mistake, although the log decides by now.
 */
function checkFounding({ storage, peerId }: ReplicaInit, founding: ReplicatedConfig, given: ReplicatedConfig): void {
  if (foundingDigest(given) === storage.founding) return
  const difference = foundingDifference(founding, given, ['in the directory', 'in the file'])
  throw new NotAuthorizedError(peerId, `its data directory was founded from another configuration: ${difference}`)
}

function firstConfig(log: RaftLog): ReplicatedConfig | undefined {
  const first = log.configurations.find(({ index }) => index === 1)
  return first === undefined ? undefined : decode(clusterConfig, decode(raftConfiguration, first.data).context)
}

/**
 * Checks that the log has the entry after the last one that the page store holds.
 *
 * A page store that is ahead of its log is accepted in one case: a crash came between the durable installation of a
 * snapshot and the reset of the log, and the page store says so. Otherwise entries of the log are lost. A peer that
 * voted without them could elect a leader that lacks an entry which this peer has acknowledged.
 */
function checkTogether(log: RaftLog, { appliedIndex, installed }: Applier, { storage, peerId }: ReplicaInit): void {
  if (appliedIndex > log.lastIndex && appliedIndex !== installed?.index) {
    const gap = `the log ends at entry ${log.lastIndex}, but the pages hold entry ${appliedIndex}`
    throw new CorruptionError(storage.logPath, 0, `${gap}; ${logRemedy(storage, peerId)}`)
  }
  if (appliedIndex + 1 < log.firstIndex) {
    const gap = `the pages hold entry ${appliedIndex}, but the log starts at entry ${log.firstIndex}`
    const reason = `${gap}; put the newest pages back, or ${rejoin(storage, peerId)}`
    throw new CorruptionError(storage.pagesPath, 0, reason)
  }
}

/**
 * Completes an installation that a crash interrupted: unless the log has the snapshot's last entry, it starts anew
 * after the snapshot (Raft, Figure 13, step 7).
 *
 * Then the page store forgets the installation. Otherwise `checkTogether` would accept an older log that comes back
 * later, and the peer would vote without the entries that it has acknowledged since.
 */
async function finishInstallation(log: RaftLog, applier: Applier): Promise<void> {
  const { installed } = applier
  if (installed === undefined) return
  if (installed.index >= log.firstIndex) await startAfter(log, installed)
  await applier.forgetInstalled()
}

async function startAfter(log: RaftLog, installed: RaftSnapshot): Promise<void> {
  if (log.term(installed.index) === installed.term) return
  const { term, vote } = log.hardState
  // The snapshot may come from a later term than the last hard state that became durable.
  const current = installed.term > term ? { term: installed.term, vote: undefined } : { term, vote }
  await log.append({ hardState: { ...current, commit: installed.index }, reset: installed, entries: [] })
}

/** Identifies the state at the start, which is a snapshot like that of every checkpoint. */
function newestSnapshot(log: RaftLog, index: number): RaftSnapshot | undefined {
  const term = log.term(index)
  const configuration = log.configurations.findLast((entry) => entry.index <= index)
  // No configuration precedes the first entry, so a page store without entries is no snapshot.
  if (term === undefined || configuration === undefined) return undefined
  return { index, term, configuration }
}

/** Takes the application's part out of a configuration entry. */
function committed(entry: Entry): CommittedEntry {
  if (entry.kind !== 'config') return entry
  return { ...entry, data: decode(raftConfiguration, entry.data).context }
}
