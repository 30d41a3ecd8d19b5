import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import type { PeerId } from '@libp2p/interface'
import {
  createClock,
  createLibp2pNetwork,
  createRandom,
  parseListenAddress,
  withShortIds,
  type Libp2pNetwork,
  type PrivateKey
} from '@quire/net'
import { ClosedError, InvalidArgumentError, PROTOCOL_BULK, PROTOCOL_CONTROL } from '@quire/protocol'
import { DEFAULT_RAFT_LIMITS } from '@quire/raft'
import { createNodeDisk } from '@quire/raft/node-disk'
import { readFileSync, statfsSync } from 'node:fs'
import type { Logger } from 'pino'
import {
  createLmdbStorage,
  DEFAULT_SCRUB_LIMITS,
  DEFAULT_SNAPSHOT_LIMITS,
  MIN_SCRUB_BYTES_PER_SECOND,
  MIN_SNAPSHOT_BYTES_PER_SECOND
} from '../pages/index.js'
import type { ReplicatedConfig } from '../state/index.js'
import { mayConnect, normalizeCluster, type ClusterConfig } from './cluster.js'
import { foundingDigest } from './founding.js'
import { openDataDirectory, type DataDirectory } from './data-dir.js'
import { boundAddresses, checkListen, currentAddresses } from './listen.js'
import { FileWriteError } from './durable.js'
import { lackOfDescriptors, watchDescriptors } from './descriptor-watch.js'
import { WANTED_CONNECTIONS, descriptors, limitConnections, type ConnectionLimits } from './descriptors.js'
import type { DiskSpace } from './disk-watch.js'
import { openPeerCore, type PeerCore } from './peer-core.js'
import type { PeerStatus } from './peer-status.js'
import { becomeMember, waitForInvitation, type JoinInit } from './peer-joining.js'
import { locateDamage, type ReplicaStorage } from './replica.js'

export interface PeerInit {
  /** A directory on a local disk. The peer makes it if it does not exist and `cluster` is given. */
  readonly dataDir: string
  /** The peer's permanent identity: the cluster knows the peer by the PeerId of this key. */
  readonly privateKey: PrivateKey
  /**
   * Multiaddrs such as /ip4/0.0.0.0/tcp/4001. For port 0, the first start chooses a port, and later starts bind it
   * again.
   */
  readonly listen: readonly string[]
  /** Founds the cluster at the first start; from then on, the log decides. */
  readonly cluster?: ClusterConfig
  /** Joins a cluster that exists at the first start, in place of `cluster`; from then on, the log decides. */
  readonly join?: JoinInit
  /** Ends the wait for an invitation to join: `createPeer` then rejects with its reason. */
  readonly signal?: AbortSignal
  /**
   * The log keeps its newest entries that take this many bytes, for peers that are a little behind. A peer that needs
   * older entries receives a snapshot. Default 64 MiB.
   */
  readonly retainedLogBytes?: number | undefined
  /** Rate at which the peer sends snapshots to all others together, from 65,536. Default 64 MiB. */
  readonly snapshotBytesPerSecond?: number | undefined
  /**
   * While the peer leads, it has all peers scrub their rows and compare their states at this interval, from 1,000;
   * Infinity: never. Default one hour.
   */
  readonly scrubIntervalMs?: number | undefined
  /** Rate at which the peer reads its rows in a scrub, from 65,536. Default 32 MiB. */
  readonly scrubBytesPerSecond?: number | undefined
  /** A pino logger. Default: no log. */
  readonly logger?: Logger
  /**
   * Called when the peer has stopped because its storage failed or an invariant broke. Default: throws the error
   * uncaught.
   */
  readonly onFatal?: (error: Error) => void
}

export interface Peer extends AsyncDisposable {
  readonly peerId: PeerId
  /** The bound addresses, each of which ends in /p2p/<PeerId>. */
  readonly multiaddrs: string[]
  /** Throws ClosedError if the peer is closed or has stopped (see `onFatal`). */
  status(): PeerStatus
  /**
   * As the leader, proposes another `roundTripMs` of the cluster. Every peer follows it when the entry is committed;
   * `status` shows it. Throws NotLeaderError, ChangePendingError, BackPressureError, InvalidArgumentError or
   * ClosedError.
   */
  proposeRoundTrip(roundTripMs: number): void
  /**
   * Redirects clients, makes everything applied durable and releases the data directory. Calling it again is harmless.
   */
  close(): Promise<void>
}

const MIN_SCRUB_INTERVAL_MS = 1_000

const { version: VERSION } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string
}

/**
 * Starts a peer on its data directory. Rejects, with nothing left open and a message of one line, with
 * InvalidArgumentError (also without a cluster to found or to join), FolderInUseError, DataDirectoryError,
 * NotAuthorizedError (the directory of another peer or cluster), CorruptionError, VersionMismatchError, ListenError (an
 * address cannot be bound) or DescriptorLimitError. With `join`, a first start waits for the invitation of an admin.
 */
export async function createPeer(given: PeerInit): Promise<Peer> {
  const { logger } = given
  const init = logger === undefined ? given : { ...given, logger: withShortIds(logger) }
  const id = peerIdFromPrivateKey(init.privateKey).toString()
  const cluster = init.cluster === undefined ? undefined : normalizeCluster(init.cluster)
  if (cluster !== undefined && !cluster.members.some((member) => member.peerId === id)) {
    throw new InvalidArgumentError('privateKey', id, `the key of a voter of cluster ${cluster.clusterId}`)
  }
  if (init.cluster !== undefined && init.join !== undefined) {
    throw new InvalidArgumentError('join', init.join.members.join(' '), 'absent if there is a cluster to found')
  }
  if (init.listen.length === 0) throw new InvalidArgumentError('listen', 0, 'one address or more')
  if (init.dataDir === '') throw new InvalidArgumentError('dataDir', '', 'the path of a folder')
  const listen = init.listen.map((address) => parseListenAddress(address))
  const twice = listen.find((address, i) => listen.indexOf(address) < i)
  if (twice !== undefined) throw new InvalidArgumentError('listen', twice, 'named once')
  checkBytes('retainedLogBytes', init.retainedLogBytes, 0)
  checkBytes('snapshotBytesPerSecond', init.snapshotBytesPerSecond, MIN_SNAPSHOT_BYTES_PER_SECOND)
  checkBytes('scrubBytesPerSecond', init.scrubBytesPerSecond, MIN_SCRUB_BYTES_PER_SECOND)
  checkInterval(init.scrubIntervalMs)
  const connections = fittingConnections(init.logger)
  const directory = await openDataDirectory({
    path: init.dataDir,
    peerId: id,
    join: await waitForInvitation(init, id, listen),
    ...(cluster === undefined ? {} : { cluster: { clusterId: cluster.clusterId, digest: foundingDigest(cluster) } }),
    // An operator repeats a start that failed for its addresses, so it must leave no directory behind.
    beforeFounding: () => checkListen(listen)
  })
  const peer = new RunningPeer(init, id, directory, connections)
  try {
    await peer.start(cluster)
    return peer
  } catch (error) {
    await peer.close()
    throw error
  }
}

function checkBytes(argument: string, bytes: number | undefined, least: number): void {
  if (bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= least)) return
  throw new InvalidArgumentError(argument, bytes, `whole bytes from ${least}`)
}

function checkInterval(ms = Infinity): void {
  if (ms === Infinity || (Number.isSafeInteger(ms) && ms >= MIN_SCRUB_INTERVAL_MS)) return
  throw new InvalidArgumentError('scrubIntervalMs', ms, `whole milliseconds from ${MIN_SCRUB_INTERVAL_MS}, or Infinity`)
}

/** Allows as many connections as the limit of open files has room for. */
function fittingConnections(logger: Logger | undefined): ConnectionLimits {
  const { limit, open } = descriptors()
  const fitting = limitConnections({ limit, open }, WANTED_CONNECTIONS)
  if (fitting.maxConnections < WANTED_CONNECTIONS.maxConnections) {
    const { maxConnections } = fitting
    logger?.warn(
      { limit, open, maxConnections, wanted: WANTED_CONNECTIONS.maxConnections },
      'the limit of open files allows fewer connections'
    )
  }
  return fitting
}

/** Runs a {@link PeerCore} on the components of a real process: a data directory, libp2p, the system's clock. */
class RunningPeer implements Peer {
  readonly peerId: PeerId
  multiaddrs: string[] = []
  private core: PeerCore | undefined
  private network: Libp2pNetwork | undefined
  private watch: { stop(): void } | undefined
  private closing: Promise<void> | undefined
  private failed = false

  constructor(
    private readonly init: PeerInit,
    private readonly id: string,
    private readonly directory: DataDirectory,
    private readonly connections: ConnectionLimits
  ) {
    this.peerId = peerIdFromPrivateKey(init.privateKey)
  }

  async start(cluster: ReplicatedConfig | undefined): Promise<void> {
    const { directory, id } = this
    const storage = storageIn(directory)
    const clock = createClock()
    const {
      retainedLogBytes: retainedBytes = DEFAULT_RAFT_LIMITS.retainedBytes,
      snapshotBytesPerSecond: bytesPerSecond = DEFAULT_SNAPSHOT_LIMITS.bytesPerSecond,
      scrubBytesPerSecond = DEFAULT_SCRUB_LIMITS.bytesPerSecond,
      scrubIntervalMs: intervalMs
    } = this.init
    const config = (): ReplicatedConfig | undefined => this.core?.config ?? directory.joinedCluster?.config
    // A founding peer accepts nobody before it has opened its storage.
    const early = directory.joined && !directory.bootstrapped ? await this.listen(config) : undefined
    if (early !== undefined) await becomeMember(this.init, directory, early)
    const core = await openPeerCore(
      { storage, clock, random: createRandom() },
      {
        id,
        cluster,
        logger: this.init.logger,
        raft: { limits: { retainedBytes } },
        replicaLimits: { snapshots: { bytesPerSecond }, scrub: { bytesPerSecond: scrubBytesPerSecond, intervalMs } },
        // Setting the check again closes the connections of identities that the new configuration does not allow.
        onConfig: () => this.network?.setAllow((peerId) => core.mayConnect(peerId)),
        onFatal: (error) => this.fatal(locateDamage(error, storage, id)),
        diskSpace: () => diskSpace(directory.path)
      }
    )
    this.core = core
    const network = early ?? (await this.listen(config))
    core.connect(network, currentAddresses(network.multiaddrs))
    this.watch = watchDescriptors({
      clock,
      lack: lackOfDescriptors,
      onChange: (code) => this.descriptorsChanged(core, code)
    })
    this.logStart(core.status())
  }

  private descriptorsChanged(core: PeerCore, code: string | undefined): void {
    const { logger } = this.init
    core.setReachable(code === undefined)
    if (code === undefined) logger?.info('there are file descriptors again: connections are accepted')
    else logger?.warn({ code, ...descriptors() }, 'no file descriptor is left: every new connection is closed')
  }

  /** Logs the start. This line has the whole id; others have short ids. */
  private logStart({ id, clusterId, founding, term, lastIndex }: PeerStatus): void {
    const { multiaddrs: addresses, directory } = this
    const facts = { version: VERSION, id, clusterId, founding, addresses, dataDir: directory.path, term, lastIndex }
    this.init.logger?.info(facts, 'the peer has started')
    const { movedAway } = directory
    if (movedAway.length > 0)
      this.init.logger?.info({ folders: movedAway }, 'former data is still there: remove it when the peer votes again')
  }

  status(): PeerStatus {
    // The status of a closing peer is outdated: it may still name this peer as the leader.
    if (this.core === undefined || this.closing !== undefined) throw new ClosedError('the peer')
    return this.core.status()
  }

  proposeRoundTrip(roundTripMs: number): void {
    if (this.core === undefined || this.closing !== undefined) throw new ClosedError('the peer')
    this.core.proposeRoundTrip(roundTripMs)
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async listen(config: () => ReplicatedConfig | undefined): Promise<Libp2pNetwork> {
    const { init, directory } = this
    const network = await createLibp2pNetwork({
      privateKey: init.privateKey,
      listen: directory.listenAddresses(init.listen),
      allow: (peerId) => this.core?.mayConnect(peerId) ?? mayConnect(config()!, peerId),
      relay: {
        isMember: (peerId) => config()!.members.some((member) => member.peerId === peerId),
        protocols: [PROTOCOL_CONTROL, PROTOCOL_BULK]
      },
      ...this.connections,
      logger: init.logger?.child({ component: 'net' })
    })
    this.network = network
    this.multiaddrs = [...network.multiaddrs]
    this.rememberListen()
    return network
  }

  /** Stores the bound addresses. A peer that cannot store them, as on a full disk, serves all the same. */
  private rememberListen(): void {
    const { init, directory } = this
    try {
      directory.rememberListen(init.listen, boundAddresses(directory.listenAddresses(init.listen), this.multiaddrs))
    } catch (error) {
      if (!(error instanceof FileWriteError)) throw error
      const { path: file, code } = error
      init.logger?.warn(
        { file, code },
        'the bound addresses cannot be written down: port 0 may be another after a restart'
      )
    }
  }

  private fatal(error: Error): void {
    if (this.failed || this.closing !== undefined) return
    this.failed = true
    this.init.logger?.fatal({ err: error }, 'the peer stops')
    const report =
      this.init.onFatal ??
      ((cause: Error) => {
        setImmediate(() => {
          throw cause
        })
      })
    void this.close()
      .catch((cause: unknown) => this.init.logger?.error({ err: cause }, 'not everything was closed'))
      .finally(() => report(error))
  }

  private async shutDown(): Promise<void> {
    const last = this.multiaddrs.length > 0 ? this.core?.root.node?.status() : undefined
    if (last !== undefined) this.init.logger?.info({ role: last.role, term: last.term }, 'the peer is stopping')
    this.watch?.stop()
    // Clients first, while there is a network to tell them. Then Raft, which ends with the log. The checkpoint comes
    // last.
    await this.core?.stop()
    await this.network?.close()
    await this.core?.close()
    await this.directory.close()
    if (last !== undefined) this.init.logger?.info({ lastIndex: last.lastIndex }, 'the peer has stopped')
  }
}

function diskSpace(path: string): DiskSpace | undefined {
  try {
    const { bsize, bavail, blocks } = statfsSync(path)
    // Some network file systems report absurdly large numbers.
    const bytes = (count: number): number => Math.min(count * bsize, Number.MAX_SAFE_INTEGER)
    return { freeBytes: bytes(bavail), totalBytes: bytes(blocks) }
  } catch {
    return undefined
  }
}

function storageIn(directory: DataDirectory): ReplicaStorage {
  return {
    clusterId: directory.clusterId,
    founding: directory.founding,
    identity: directory,
    get joinedCluster() {
      return directory.joinedCluster
    },
    get bootstrapped() {
      return directory.bootstrapped
    },
    completeBootstrap: () => directory.completeBootstrap(),
    logPath: directory.logPath,
    pagesPath: directory.pagesPath,
    openLogDisk: () => createNodeDisk(directory.logPath),
    pages: createLmdbStorage({ folder: directory.pagesPath })
  }
}
