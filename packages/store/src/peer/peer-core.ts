/** What makes a peer, on components of the caller's: Raft node, page store, owner directory and session server of its group. */
import {
  ClosedError,
  MAX_ADDRESSES,
  MAX_TOTAL_ADDRESS_BYTES,
  checkRoundTrip,
  decode,
  fitAddresses,
  isShortage,
  timingOf,
  type Clock,
  type Member,
  type Network,
  type RaftMark,
  type RaftRoom,
  type Random,
  type Timing
} from '@quire/protocol'
import { NotLeaderError, createRaftNode, type RaftNode, type RaftNodeInit } from '@quire/raft'
import type { Logger } from 'pino'
import type { Directory } from '../directory/directory.js'
import { createStages, type Stages, type StageReport } from '../observability/stages.js'
import type { ServerLimits } from '../server/limits.js'
import {
  createGroupServer,
  createSessionServer,
  type GroupServer,
  type SessionServer,
  type StatusReport
} from '../server/index.js'
import { clusterConfig, type Applied, type ReplicatedConfig } from '../state/index.js'
import { AddressBook } from '@quire/net'
import { encodeCluster } from './cluster.js'
import { createPeerIdentity, type PeerIdentity } from './identity.js'
import { createPeerLinks, type Acknowledged, type PeerLinks, type Quarantined } from './peer-links.js'
import { RoleLog } from './role-log.js'
import { openReplica, type Replica, type ReplicaLimits, type ReplicaStorage } from './replica.js'

export interface PeerCoreComponents {
  readonly storage: ReplicaStorage
  readonly clock: Clock
  readonly random: Random
}

export interface PeerCoreInit {
  /** PeerId as text. */
  readonly id: string
  /** For a storage that is new. */
  readonly cluster?: ReplicatedConfig | undefined
  readonly logger?: Logger | undefined
  readonly limits?: Partial<ServerLimits> | undefined
  readonly replicaLimits?: ReplicaLimits | undefined
  readonly raft?: Pick<RaftNodeInit, 'limits'> | undefined
  /** Room in the file system under the storage, for the status; undefined while nobody knows. */
  readonly diskSpace?: (() => DiskSpace | undefined) | undefined
  /** The configuration in the log has changed. */
  readonly onConfig?: ((config: ReplicatedConfig) => void) | undefined
  /** An entry was applied, after everything else has seen it. */
  readonly onApplied?: ((index: number, applied: Applied | undefined) => void) | undefined
  /** Storage failed or an invariant broke: close the core. */
  readonly onFatal: (error: Error) => void
}

export interface DiskSpace {
  /** What this process may take of it. */
  readonly freeBytes: number
  readonly totalBytes: number
}

/** What a peer knows at this moment, without asking anybody. */
export interface PeerStatus {
  readonly clusterId: string
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** PeerId as text. */
  readonly id: string
  /** This peer takes part in votes: see docs/identity.md, Admission. */
  readonly admitted: boolean
  /** Peers that this one refuses, or that refuse it. */
  readonly quarantined: readonly Quarantined[]
  readonly role: 'leader' | 'follower' | 'candidate' | 'learner'
  readonly term: number
  /** PeerId as text; undefined while unknown. */
  readonly leader: string | undefined
  readonly lastIndex: number
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly voters: readonly Member[]
  readonly learners: readonly Member[]
  /** What its time-outs derive from; see `timingOf`. */
  readonly roundTripMs: number
  readonly sessions: number
  readonly ownedPages: number
  /** `enough`; `little`: it stores entries until its log's file is full, and hands leadership over; `none`: it stores none. */
  readonly room: RaftRoom
  /** Of the file system that holds the data directory; undefined where nobody knows. */
  readonly disk: DiskSpace | undefined
  /** How long the stages of its work took since it started: see docs/observability.md. */
  readonly stages: readonly StageReport[]
}

/** One group so far; its id is in every message, so that more can share the streams. */
const GROUP = 0

/** Opens the storage. Rejects, with nothing left open, when it is damaged or another's. Nothing runs before `connect`. */
export async function openPeerCore(components: PeerCoreComponents, init: PeerCoreInit): Promise<PeerCore> {
  const { storage, clock } = components
  const stages = createStages(clock)
  const replica = await openReplica({
    storage,
    peerId: init.id,
    cluster: init.cluster,
    clock,
    stages,
    limits: init.replicaLimits,
    // Neither is called before the node, which is made from the result, hands entries in.
    onApplied: (index, applied) => core.applied(index, applied),
    onFault: (fault) => core.storageFault(fault)
  })
  const identity = await openIdentity(components, init, replica, () => core.settled())
  const core = new PeerCore(components, init, replica, stages, identity)
  return core
}

async function openIdentity(
  { storage, random }: PeerCoreComponents,
  { id }: PeerCoreInit,
  replica: Replica,
  settled: () => RaftMark
): Promise<PeerIdentity> {
  const { log, founding } = replica
  const durable = () => ({
    term: log.hardState.term,
    lastTerm: log.term(log.lastIndex) ?? 0,
    lastIndex: log.lastIndex
  })
  try {
    return await createPeerIdentity({ id, storage, founding, random, durable, settled })
  } catch (error) {
    await replica.log.close()
    await replica.applier.close()
    throw error
  }
}

export class PeerCore {
  /** Where the peers of the cluster are. */
  private readonly book = new AddressBook()
  private parts: Parts | undefined
  /** Storage lacks room or a descriptor, or has failed. */
  private fault: Error | undefined
  private isReachable = true
  private newestConfig: ReplicatedConfig

  constructor(
    private readonly components: PeerCoreComponents,
    private readonly init: PeerCoreInit,
    readonly replica: Replica,
    private readonly stages: Stages,
    private readonly identity: PeerIdentity
  ) {
    this.newestConfig = replica.config
  }

  get config(): ReplicatedConfig {
    return this.newestConfig
  }

  /** Of the newest configuration that is applied here. */
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
    const { node } = this
    if (node === undefined) throw new NotLeaderError(this.init.id, undefined)
    // Of what the log has, not of what is applied: a configuration in between must not be undone.
    const config = decode(clusterConfig, node.context)
    return node.changeMembership([], encodeCluster({ ...config, roundTripMs }))
  }

  /** The parts, once connected. */
  get node(): RaftNode | undefined {
    return this.parts?.node
  }

  /** Undefined while this peer does not serve as the leader. */
  get directory(): Directory | undefined {
    return this.parts?.groupServer.directory
  }

  get groupServer(): GroupServer | undefined {
    return this.parts?.groupServer
  }

  /**
   * Starts to take part; `addresses` are where this peer listens. Does not pause: a remote that has connected meanwhile finds every
   * protocol.
   */
  connect(network: Network, addresses: readonly string[]): void {
    const { clock, random } = this.components
    const { id } = this.init
    const { state } = this.replica.applier
    const { tickMs, electionTicks, heartbeatTicks } = this.timing
    const links = createPeerLinks({
      network,
      clock,
      random,
      identity: this.identity,
      addresses,
      book: this.book,
      stepMs: () => this.timing.stepMs,
      receive: (group, from, message) => {
        if (group === GROUP) this.parts?.node.receive(from, message)
      },
      acknowledged: () => this.acknowledged(),
      confirmLeadership: () => (this.parts?.node.status().ready === true ? this.parts.node.readIndex() : undefined),
      logger: this.child('links')
    })
    const roles = new RoleLog(this.child('raft'), id)
    const node = createRaftNode(
      {
        clock,
        random,
        log: this.replica.log,
        transport: { send: (to, message) => links.send(GROUP, to, message) },
        application: {
          appliedIndex: this.replica.applier.appliedIndex,
          apply: (entries) => this.replica.apply(entries),
          onChange: (status) => {
            roles.changed(status)
            this.parts?.groupServer.statusChanged()
          },
          onFatal: (error) => this.init.onFatal(error)
        }
      },
      // Not the node's own choice, and not its operator's: the cluster's.
      { ...this.init.raft, id, tickMs, electionTicks, heartbeatTicks }
    )
    const groupServer = createGroupServer({
      group: GROUP,
      self: id,
      founding: this.identity.digest,
      members: () => this.members(),
      membersVersion: () => this.book.changes,
      raft: node,
      view: state,
      clock,
      random,
      stages: this.stages,
      ...(this.init.limits === undefined ? {} : { limits: this.init.limits }),
      logger: this.child('server'),
      onFatal: (error) => this.init.onFatal(error)
    })
    const server = createSessionServer({
      network,
      clock,
      groups: [groupServer],
      status: () => this.report(),
      ...(this.init.limits === undefined ? {} : { limits: this.init.limits }),
      logger: this.child('server')
    })
    this.parts = { links, node, groupServer, server }
    this.learnOwn(addresses)
    this.lackRoom(this.fault)
    links.setPeers(this.newestConfig.voters)
  }

  status(): PeerStatus {
    if (this.parts === undefined) throw new ClosedError('peer')
    const { role, term, leader, lastIndex, commitIndex, appliedIndex, voters, learners, room } =
      this.parts.node.status()
    const { state } = this.replica.applier
    return {
      clusterId: this.newestConfig.clusterId,
      founding: this.identity.digest,
      id: this.init.id,
      admitted: this.identity.isAdmitted,
      quarantined: this.parts.links.quarantined,
      role,
      term,
      leader,
      lastIndex,
      commitIndex,
      appliedIndex,
      voters: voters.map((peerId) => this.member(peerId)),
      learners: learners.map((peerId) => this.member(peerId)),
      roundTripMs: this.newestConfig.roundTripMs,
      sessions: [...state.sessions()].length,
      ownedPages: state.ownedPages(),
      room,
      disk: this.init.diskSpace?.(),
      stages: this.stages.report()
    }
  }

  /** Hands leadership on, sends clients away and ends Raft with its log. The network must still be there, to tell them. */
  async stop(): Promise<void> {
    const { parts } = this
    if (parts?.node.status().role === 'leader') await this.handOn(parts.node)
    parts?.server.close()
    parts?.groupServer.close()
    const closing = parts === undefined ? this.replica.log.close() : parts.node.close()
    // The node, which hands in nothing from here on, waits for entries that are being applied. On a full disk they wait for room.
    this.replica.applier.stop()
    await closing
    parts?.links.close()
  }

  /** Otherwise the others would wait for an election timeout. Without others, or when none takes over, they do. */
  private async handOn(node: RaftNode): Promise<void> {
    try {
      await node.transferLeadership()
    } catch (error) {
      this.init.logger?.debug({ err: error }, 'leadership was not handed on')
    }
  }

  /** After `stop`: makes everything applied durable and closes the page store. */
  async close(): Promise<void> {
    await this.replica.applier.close()
  }

  /** From the replica. */
  applied(index: number, applied: Applied | undefined): void {
    if (applied !== undefined) {
      if (applied.type === 'config') this.configure()
      this.parts?.groupServer.applied(index, applied)
    }
    this.init.onApplied?.(index, applied)
  }

  /** From the replica. */
  storageFault(fault: Error | undefined): void {
    const lack = (fault ?? this.fault)?.name === 'NoDescriptorsError' ? 'file descriptor' : 'room on the disk'
    this.fault = fault
    this.lackRoom(fault)
    if (fault === undefined) this.init.logger?.info(`there is ${lack} again`)
    else if (isShortage(fault)) this.init.logger?.error({ err: fault }, `no ${lack}: no writes are taken`)
    else this.init.onFatal(fault)
  }

  /**
   * Whether others can connect to this peer. While they cannot, another peer should lead; as long as none can, this one
   * goes on for those that are connected.
   */
  setReachable(isReachable: boolean): void {
    this.isReachable = isReachable
    this.lackRoom(this.fault)
  }

  /** The node looks for another leader; as long as it finds none, it takes no writes. */
  private lackRoom(fault: Error | undefined): void {
    this.parts?.node.setRoom(fault === undefined && this.isReachable)
    this.parts?.groupServer.setReadOnly(fault)
  }

  private configure(): void {
    const { config } = this.replica.applier.state
    if (config === undefined) return
    this.newestConfig = config
    this.learnOwn()
    this.parts?.links.setPeers(config.voters)
    this.parts?.node.setTickMs(this.timing.tickMs)
    this.init.onConfig?.(config)
  }

  private report(): StatusReport {
    const { voters, learners, leader, stages, quarantined, ...status } = this.status()
    return {
      ...status,
      leader: leader ?? '',
      voters: [...voters],
      learners: [...learners],
      stages: [...stages],
      quarantined: [...quarantined]
    }
  }

  /** The peers of the cluster, with the addresses that were last heard of. */
  private members(): Member[] {
    return this.newestConfig.voters.map(({ peerId }) => this.member(peerId))
  }

  /** Each member gets an equal share of the address bytes. So a control frame always has room for all members. */
  private member(peerId: string): Member {
    const share = Math.floor(MAX_TOTAL_ADDRESS_BYTES / this.newestConfig.voters.length)
    return { peerId, addresses: fitAddresses(this.book.of(peerId).slice(0, MAX_ADDRESSES), share) }
  }

  /**
   * Where the configuration says that this peer is, and then where it listens: if it is behind a router, others may
   * reach it only at the former.
   */
  private learnOwn(listening: readonly string[] = []): void {
    const { id } = this.init
    const own = this.newestConfig.voters.find(({ peerId }) => peerId === id)
    this.book.learn(id, [...(own?.addresses ?? []), ...listening])
  }

  /** What this peer has on its disk for good. */
  settled(): RaftMark {
    const { log } = this.replica
    const { commitIndex = 0, durableIndex = 0 } = this.node?.status() ?? {}
    const index = Math.min(commitIndex, durableIndex, log.lastIndex)
    return { term: log.hardState.term, lastTerm: log.term(index) ?? 0, lastIndex: index }
  }

  /** What each follower has that is committed: it stays on that follower's disk for good. */
  private acknowledged(): Acknowledged[] {
    const { node } = this.parts ?? {}
    if (node === undefined) return []
    const { log } = this.replica
    const committed = Math.min(node.status().commitIndex, log.lastIndex)
    const found: Acknowledged[] = []
    for (const [peerId, match] of node.matchIndexes()) {
      const index = Math.min(match, committed)
      const term = log.term(index)
      if (term !== undefined && index > 0) found.push({ peerId, term, index })
    }
    return found
  }

  private child(component: string): Logger | undefined {
    return this.init.logger?.child({ component })
  }
}

interface Parts {
  readonly links: PeerLinks
  readonly node: RaftNode
  readonly groupServer: GroupServer
  readonly server: SessionServer
}
