import {
  ClosedError,
  NotAuthorizedError,
  QuireError,
  MAX_ADDRESSES,
  MAX_TOTAL_ADDRESS_BYTES,
  ROOT_GROUP,
  checkRoundTrip,
  decode,
  fitAddresses,
  timingOf,
  type AdminChange,
  type Clock,
  type Member,
  type Network,
  type RaftMark,
  type Random,
  type Timing
} from '@quire/protocol'
import { NotLeaderError, type RaftNodeInit } from '@quire/raft'
import type { Logger } from 'pino'
import { createStages, type Stages } from '../observability/stages.js'
import { createSessionServer, type ServerLimits, type SessionServer, type StatusReport } from '../server/index.js'
import { clusterConfig, peerIdOf, type ReplicatedConfig } from '../state/index.js'
import type { AppliedListener } from '../pages/index.js'
import { AddressBook } from '@quire/net'
import { Administration } from './administration.js'
import { encodeCluster, mayConnect } from './cluster.js'
import { DiskWatch, type DiskSpace } from './disk-watch.js'
import { openPeerGroup, type PeerGroup } from './group.js'
import { withRoundTrip } from './membership.js'
import { createPeerIdentity, type PeerIdentity } from './identity.js'
import { joinRefusal } from './join-refusal.js'
import { createPeerLinks, type JoinAnswer, type JoinMessage, type PeerLinks } from './peer-links.js'
import type { PeerStatus } from './peer-status.js'
import type { ReplicaLimits, ReplicaStorage } from './replica.js'

export interface PeerCoreComponents {
  readonly storage: ReplicaStorage
  readonly clock: Clock
  readonly random: Random
}

export interface PeerCoreInit {
  /** PeerId as text. */
  readonly id: string
  /** The configuration for a new storage. */
  readonly cluster?: ReplicatedConfig | undefined
  readonly logger?: Logger | undefined
  readonly limits?: Partial<ServerLimits> | undefined
  readonly replicaLimits?: ReplicaLimits | undefined
  readonly raft?: Pick<RaftNodeInit, 'limits'> | undefined
  /** The file system under the storage; undefined while it is unknown. */
  readonly diskSpace?: (() => DiskSpace | undefined) | undefined
  /** A configuration was applied: the answers of {@link PeerCore.mayConnect} may be others. */
  readonly onConfig?: ((config: ReplicatedConfig) => void) | undefined
  /** Called with each applied entry, after all other parts have seen it. */
  readonly onApplied?: AppliedListener | undefined
  /** Called when storage has failed or an invariant broke: the caller must close the core. */
  readonly onFatal: (error: Error) => void
}

/**
 * Opens the storage. Rejects, with nothing left open, if it is damaged or belongs to another peer. Nothing runs before
 * `connect`.
 */
export async function openPeerCore(components: PeerCoreComponents, init: PeerCoreInit): Promise<PeerCore> {
  const stages = createStages(components.clock)
  const { id, cluster, logger, limits, replicaLimits, raft, onApplied, onFatal } = init
  const root = await openPeerGroup(components, {
    group: ROOT_GROUP,
    id,
    cluster,
    logger,
    stages,
    limits,
    replicaLimits,
    raft,
    onConfig: (config) => core.configured(config),
    onStatus: () => core.statusChanged(),
    onApplied: (index, applied, term) => {
      core.applied(index, term)
      onApplied?.(index, applied, term)
    },
    onFatal
  })
  const identity = await openIdentity(components, init, root)
  const core = new PeerCore(components, init, root, stages, identity)
  return core
}

async function openIdentity(
  { storage, random }: PeerCoreComponents,
  { id }: PeerCoreInit,
  root: PeerGroup
): Promise<PeerIdentity> {
  const { founding } = root.replica
  const durableMark = (): RaftMark => root.evidence.durableMark()
  const committedMark = (): RaftMark => root.evidence.committedMark()
  try {
    return await createPeerIdentity({ id, storage: storage.identity, founding, random, durableMark, committedMark })
  } catch (error) {
    await root.stop()
    await root.close()
    throw error
  }
}

const NO_MEMBERS: ReadonlySet<string> = new Set()

/**
 * Runs a peer on components of the caller's.
 *
 * The peer's Raft groups share its links to other peers, its session server and its identity. The root group carries
 * the configuration of the cluster.
 */
export class PeerCore {
  /** The addresses of the peers. */
  private readonly book = new AddressBook()
  private readonly groups: ReadonlyMap<number, PeerGroup>
  private parts:
    | { readonly links: PeerLinks; readonly server: SessionServer; readonly administration: Administration }
    | undefined
  private newestConfig: ReplicatedConfig
  private readonly diskWatch: DiskWatch | undefined

  constructor(
    private readonly components: PeerCoreComponents,
    private readonly init: PeerCoreInit,
    /** The group that carries the configuration of the cluster. */
    readonly root: PeerGroup,
    private readonly stages: Stages,
    private readonly identity: PeerIdentity
  ) {
    this.groups = new Map([[root.id, root]])
    this.newestConfig = root.replica.config
    const { diskSpace } = init
    this.diskWatch =
      diskSpace &&
      new DiskWatch({
        space: diskSpace,
        clock: components.clock,
        onChange: (isLow) => {
          for (const group of this.groups.values()) group.setDiskLow(isLow)
        },
        logger: this.child('disk')
      })
  }

  get config(): ReplicatedConfig {
    return this.newestConfig
  }

  /** The ids of the members with which this peer links (docs/membership.md, A peer that is behind). */
  get linkedMembers(): ReadonlySet<string> {
    return this.parts?.links.members ?? NO_MEMBERS
  }

  /**
   * True if `peerId` may connect; otherwise the reason why not. A member of which this peer has only been told may
   * connect, because this peer may need it in order to catch up.
   */
  mayConnect(peerId: string): true | string {
    const isLinked = [...this.linkedMembers].some((member) => peerIdOf(member) === peerId)
    return isLinked || mayConnect(this.newestConfig, peerId)
  }

  /** The timing of the newest configuration that is applied here. */
  get timing(): Timing {
    return timingOf(this.newestConfig.roundTripMs)
  }

  /**
   * Leader: proposes a configuration with another round trip, which every peer follows when it has applied the entry.
   * Throws NotLeaderError, ChangePendingError while another configuration is not committed, BackPressureError, and
   * InvalidArgumentError.
   */
  proposeRoundTrip(roundTripMs: number): { readonly index: number; readonly term: number } {
    checkRoundTrip(roundTripMs, 'roundTripMs')
    const { node } = this.root
    if (node === undefined) throw new NotLeaderError(this.init.id, undefined)
    // From the log, not from the state: a configuration that is not applied yet must not be undone.
    const config = decode(clusterConfig, node.context)
    return node.changeMembership([], encodeCluster(withRoundTrip(config, roundTripMs, this.init.id)))
  }

  /**
   * Starts to take part; `addresses` are where this peer listens. Runs without a pause, so a remote that has connected
   * meanwhile finds every protocol.
   */
  connect(network: Network, addresses: readonly string[]): void {
    const { clock, random } = this.components
    const { id, limits } = this.init
    const { tickMs, electionTicks, heartbeatTicks } = this.timing
    const links = createPeerLinks({
      network,
      clock,
      random,
      identity: this.identity,
      addresses,
      book: this.book,
      stepMs: () => this.timing.stepMs,
      receive: (group, from, message) => this.groups.get(group)?.receive(from, message),
      acknowledged: () => this.root.evidence.acknowledged(),
      confirmLeadership: () => this.root.confirmLeadership(),
      join: (remote, request) => this.answerJoin(remote, request),
      heardState: (member, report) => this.root.scrubbing.heard(member, report),
      logger: this.child('links')
    })
    const groupServers = [...this.groups.values()].map((group) =>
      group.connect({
        send: (to, message) => links.send(group.id, to, message),
        ticks: { tickMs, electionTicks, heartbeatTicks },
        founding: this.identity.digest,
        cluster: () => this.newestConfig,
        members: () => this.members(),
        membersVersion: () => this.book.changes + this.newestConfig.revision,
        tellState: (report) => links.tellState(report)
      })
    )
    const server = createSessionServer({
      network,
      clock,
      groups: groupServers,
      status: () => this.report(),
      access: () => this.newestConfig,
      mayServe: (client) => mayConnect(this.newestConfig, client),
      roster: () => this.parts?.administration.roster(),
      administer: (by, founding, change) => this.administer(by, founding, change),
      ...(limits === undefined ? {} : { limits }),
      logger: this.child('server')
    })
    const administration = new Administration({ self: id, node: this.root.node!, clock, logger: this.child('admin') })
    this.parts = { links, server, administration }
    this.learnOwn(addresses)
    for (const group of this.groups.values()) group.tellRoom()
    links.configure(this.newestConfig)
    this.diskWatch?.start()
  }

  status(): PeerStatus {
    const { node, replica } = this.root
    if (this.parts === undefined || node === undefined) throw new ClosedError('peer')
    const { role, term, leader, lastIndex, commitIndex, appliedIndex, voters, learners, room } = node.status()
    const { state } = replica.applier
    return {
      clusterId: this.newestConfig.clusterId,
      founding: this.identity.digest,
      id: this.init.id,
      admitted: this.identity.isAdmitted,
      quarantined: this.parts.links.quarantined,
      role,
      term,
      leader: leader && peerIdOf(leader),
      lastIndex,
      commitIndex,
      appliedIndex,
      voters: voters.map((member) => this.member(peerIdOf(member))),
      learners: learners.map((member) => this.member(peerIdOf(member))),
      roundTripMs: this.newestConfig.roundTripMs,
      sessions: [...state.sessions()].length,
      ownedPages: state.ownedPages(),
      room,
      disk: this.diskWatch?.status(),
      ...this.root.storeStatus(),
      stages: this.stages.report()
    }
  }

  /**
   * Hands leadership on, sends clients away and ends Raft with its log. The network must still be there, to tell them.
   */
  async stop(): Promise<void> {
    const groups = [...this.groups.values()]
    this.diskWatch?.stop()
    for (const group of groups) if (group.node?.status().role === 'leader') await group.handOn()
    this.parts?.server.close()
    this.parts?.administration.close()
    await Promise.all(groups.map((group) => group.stop()))
    this.parts?.links.close()
  }

  /** After `stop`: makes everything applied durable and closes the page stores. */
  async close(): Promise<void> {
    await Promise.all([...this.groups.values()].map((group) => group.close()))
  }

  /** Whether others can connect to this peer; see {@link PeerGroup.setReachable}. */
  setReachable(isReachable: boolean): void {
    for (const group of this.groups.values()) group.setReachable(isReachable)
  }

  /**
   * The root group has applied a configuration. A peer that catches up passes through configurations that are older
   * than the one with which it started, and ignores them (docs/membership.md).
   */
  configured(config: ReplicatedConfig): void {
    const { revision, change } = config
    if (revision < this.newestConfig.revision) return
    // The entry that ends a joint configuration repeats the change.
    if (revision > this.newestConfig.revision) {
      this.init.logger?.info({ revision, by: change.by, change: change.what }, 'the cluster was changed')
    }
    this.newestConfig = config
    this.learnOwn()
    this.parts?.links.configure(config)
    this.parts?.administration.configured()
    for (const group of this.groups.values()) group.node?.setTickMs(this.timing.tickMs)
    this.init.onConfig?.(config)
  }

  /** The root group has applied an entry. */
  applied(index: number, term: number): void {
    this.parts?.administration.applied(index, term)
  }

  /** The role of the root group's node may have changed. */
  statusChanged(): void {
    this.parts?.administration.statusChanged()
  }

  /** Answers a peer that asks to join. Only the leader can let it in; others name the leader. */
  private async answerJoin(remote: string, request: JoinMessage): Promise<JoinAnswer> {
    const { incarnation, rejoins } = request
    const refusal = joinRefusal(this.newestConfig, remote, request)
    if (refusal !== undefined) return refusal
    try {
      if (incarnation !== '') await this.parts?.administration.join({ peerId: remote, incarnation, rejoins })
    } catch (error) {
      if (error instanceof QuireError) return { error, reason: 'membership', founding: undefined }
      if (!(error instanceof NotLeaderError)) throw error
    }
    const leader = this.root.node?.status().leader
    return {
      founding: this.identity.foundingBytes,
      config: encodeCluster(this.newestConfig),
      leader: leader === undefined ? '' : peerIdOf(leader)
    }
  }

  private async administer(by: string, founding: string, change: AdminChange): Promise<number> {
    const { digest } = this.identity
    if (founding !== '' && founding !== digest) {
      throw new NotAuthorizedError(by, `it means the cluster with founding digest ${founding}, this one has ${digest}`)
    }
    if (this.parts === undefined) throw new ClosedError('peer')
    return this.parts.administration.change(by, change)
  }

  private report(): StatusReport {
    const { voters, learners, leader, stages, quarantined, sending, ...status } = this.status()
    return {
      ...status,
      leader: leader ?? '',
      voters: [...voters],
      learners: [...learners],
      stages: [...stages],
      sending: [...sending],
      quarantined: [...quarantined]
    }
  }

  /** The members of the cluster, with their last known addresses. */
  private members(): Member[] {
    // While a peer replaces its own lost directory, two members have its PeerId.
    return [...new Set(this.newestConfig.members.map(({ peerId }) => peerId))].map((peerId) => this.member(peerId))
  }

  /** Each member gets an equal share of the address bytes, so a control frame always has room for all members. */
  private member(peerId: string): Member {
    const share = Math.floor(MAX_TOTAL_ADDRESS_BYTES / this.newestConfig.members.length)
    return { peerId, addresses: fitAddresses(this.book.of(peerId).slice(0, MAX_ADDRESSES), share) }
  }

  /**
   * Learns this peer's own addresses: first those of the configuration, then those at which it listens. Behind a
   * router, others may reach it only at the former.
   */
  private learnOwn(listening: readonly string[] = []): void {
    const { id } = this.init
    const own = this.newestConfig.members.find(({ peerId }) => peerId === id)
    this.book.learn(id, [...(own?.addresses ?? []), ...listening])
  }

  private child(component: string): Logger | undefined {
    return this.init.logger?.child({ component })
  }
}
