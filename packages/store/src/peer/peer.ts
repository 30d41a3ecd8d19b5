import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import type { PeerId } from '@libp2p/interface'
import { createClock, createLibp2pNetwork, createRandom, type Libp2pNetwork, type PrivateKey } from '@quire/net'
import { ClosedError, InvalidArgumentError, type Clock, type Member, type Random } from '@quire/protocol'
import { createRaftNode, type RaftNode } from '@quire/raft'
import type { Logger } from 'pino'
import { createDirectory } from '../directory/directory.js'
import {
  createLeaderService,
  createSessionServer,
  type LeaderService,
  type SessionServer,
  type StatusReport
} from '../server/index.js'
import type { Applied, ReplicatedConfig } from '../state/index.js'
import { mayConnect, normalizeCluster, type ClusterConfig } from './cluster.js'
import { openDataDirectory, type DataDirectory } from './data-dir.js'
import { boundAddresses } from './listen.js'
import { createPeerLinks, type PeerLinks } from './peer-links.js'
import { openReplica, type Replica } from './replica.js'

export interface PeerInit {
  /** On a local disk. Made when it does not exist and `cluster` is given. */
  readonly dataDir: string
  /** The peer's identity for good: the cluster knows it by this key's PeerId. */
  readonly privateKey: PrivateKey
  /** Multiaddrs such as /ip4/0.0.0.0/tcp/4001. Port 0 is chosen at the first start and bound again at every later one. */
  readonly listen: readonly string[]
  /** At the first start only; afterwards the log decides. Joining a running cluster comes with membership changes. */
  readonly cluster?: ClusterConfig
  /** pino; default silent. */
  readonly logger?: Logger
  /** The peer has stopped because its storage failed or an invariant broke. Default: the error is thrown where nobody catches it. */
  readonly onFatal?: (error: Error) => void
}

/** What a peer knows at this moment, without asking anybody. */
export interface PeerStatus {
  readonly clusterId: string
  /** PeerId as text. */
  readonly id: string
  readonly role: 'leader' | 'follower' | 'candidate' | 'learner'
  readonly term: number
  /** PeerId as text; undefined while unknown. */
  readonly leader: string | undefined
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly Member[]
  readonly learners: readonly Member[]
  readonly sessions: number
  readonly ownedPages: number
}

export interface Peer extends AsyncDisposable {
  readonly peerId: PeerId
  /** Bound addresses, each ending in /p2p/<PeerId>. */
  readonly multiaddrs: string[]
  status(): PeerStatus
  /** Sends clients away, makes everything applied durable and releases the data directory. Repeating it is harmless. */
  close(): Promise<void>
}

/** One group so far; its id is in every message, so that more can share the streams. */
const GROUP = 0

/**
 * Starts a peer on its data directory. Rejects, with nothing left open, when the directory is in use, damaged or another's, when an
 * address cannot be bound, or when there is no cluster to start with; the message is one line.
 */
export async function createPeer(init: PeerInit): Promise<Peer> {
  const id = peerIdFromPrivateKey(init.privateKey).toString()
  const cluster = init.cluster === undefined ? undefined : normalizeCluster(init.cluster)
  if (cluster !== undefined && !cluster.voters.some((voter) => voter.peerId === id)) {
    throw new InvalidArgumentError('privateKey', id, `the key of a voter of cluster ${cluster.clusterId}`)
  }
  if (init.listen.length === 0) throw new InvalidArgumentError('listen', 0, 'one address or more')
  const directory = await openDataDirectory({ path: init.dataDir, peerId: id, clusterId: cluster?.clusterId })
  const peer = new RunningPeer(init, id, directory)
  try {
    await peer.start(cluster)
    return peer
  } catch (error) {
    await peer.close()
    throw error
  }
}

class RunningPeer implements Peer {
  readonly peerId: PeerId
  private readonly clock: Clock = createClock()
  private readonly random: Random = createRandom()
  private replica: Replica | undefined
  private network: Libp2pNetwork | undefined
  private links: PeerLinks | undefined
  private node: RaftNode | undefined
  private service: LeaderService | undefined
  private server: SessionServer | undefined
  private config: ReplicatedConfig | undefined
  private closing: Promise<void> | undefined
  private failed = false

  constructor(
    private readonly init: PeerInit,
    private readonly id: string,
    private readonly directory: DataDirectory
  ) {
    this.peerId = peerIdFromPrivateKey(init.privateKey)
  }

  get multiaddrs(): string[] {
    return [...(this.network?.multiaddrs ?? [])]
  }

  async start(cluster: ReplicatedConfig | undefined): Promise<void> {
    const replica = await openReplica({
      directory: this.directory,
      peerId: this.id,
      cluster,
      clock: this.clock,
      onApplied: (index, applied) => this.applied(index, applied),
      onFault: (fault) => this.storageFault(fault)
    })
    this.replica = replica
    this.config = replica.config
    await this.listen()
    // From here on without a pause: whoever connected meanwhile finds every protocol.
    this.connect(replica)
  }

  status(): PeerStatus {
    const { node, replica, config } = this
    if (node === undefined || replica === undefined || config === undefined) throw new ClosedError('peer')
    const { role, term, leader, lastIndex, commitIndex, appliedIndex, voters, learners } = node.status()
    const { state } = replica.applier
    return {
      clusterId: config.clusterId,
      id: this.id,
      role,
      term,
      leader,
      lastIndex,
      commitIndex,
      appliedIndex,
      voters: voters.map((peerId) => this.member(peerId)),
      learners: learners.map((peerId) => this.member(peerId)),
      sessions: [...state.sessions()].length,
      ownedPages: state.ownedPages()
    }
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async listen(): Promise<void> {
    const { init, directory } = this
    const network = await createLibp2pNetwork({
      privateKey: init.privateKey,
      listen: directory.listenAddresses(init.listen),
      allow: (peerId) => (this.config === undefined ? 'not started yet' : mayConnect(this.config, peerId)),
      logger: this.child('net')
    })
    this.network = network
    directory.rememberListen(init.listen, boundAddresses(directory.listenAddresses(init.listen), network.multiaddrs))
  }

  private connect(replica: Replica): void {
    const { clock, random, id } = this
    const { state } = replica.applier
    const network = this.network!
    const links = createPeerLinks({
      network,
      clock,
      random,
      clusterId: this.directory.clusterId,
      receive: (group, from, message) => {
        if (group === GROUP) this.node?.receive(from, message)
      },
      logger: this.child('links')
    })
    this.links = links
    const node = createRaftNode(
      {
        clock,
        random,
        log: replica.log,
        transport: { send: (to, message) => links.send(GROUP, to, message) },
        application: {
          appliedIndex: replica.applier.appliedIndex,
          apply: (entries) => replica.apply(entries),
          onChange: () => this.service?.statusChanged(),
          onFatal: (error) => this.fatal(error)
        }
      },
      { id }
    )
    this.node = node
    this.service = createLeaderService({
      group: GROUP,
      self: id,
      raft: node,
      view: state,
      directory: createDirectory(state),
      clock,
      random,
      logger: this.child('server'),
      onFatal: (error) => this.fatal(error)
    })
    this.server = createSessionServer({
      network,
      clock,
      groups: [this.service],
      status: () => this.report(),
      logger: this.child('server')
    })
    links.setPeers(this.config?.voters ?? [])
  }

  private applied(index: number, applied: Applied | undefined): void {
    if (applied === undefined) return
    if (applied.type === 'config') this.configure()
    this.service?.applied(index, applied)
  }

  private configure(): void {
    const config = this.replica?.applier.state.config
    if (config === undefined) return
    this.config = config
    this.links?.setPeers(config.voters)
    // The check reads the new configuration; setting it anew hangs up on those whom it does not allow any more.
    this.network?.setAllow((peerId) => mayConnect(config, peerId))
  }

  private storageFault(fault: Error | undefined): void {
    this.service?.setReadOnly(fault)
    if (fault === undefined) this.init.logger?.info('there is room on the disk again')
    else if (fault.name === 'NoSpaceError')
      this.init.logger?.error({ err: fault }, 'no room on the disk: no writes are taken')
    else this.fatal(fault)
  }

  private report(): StatusReport {
    const { voters, learners, leader, ...status } = this.status()
    return { ...status, leader: leader ?? '', voters: [...voters], learners: [...learners] }
  }

  private member(peerId: string): Member {
    return this.config?.voters.find((voter) => voter.peerId === peerId) ?? { peerId, addresses: [] }
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
    // Clients first, while there is a network to tell them; then Raft, which ends with the log; the checkpoint last.
    this.server?.close()
    this.service?.close()
    if (this.node === undefined) await this.replica?.log.close()
    else await this.node.close()
    this.links?.close()
    await this.network?.close()
    await this.replica?.applier.close()
    await this.directory.close()
  }

  private child(component: string): Logger | undefined {
    return this.init.logger?.child({ component })
  }
}
