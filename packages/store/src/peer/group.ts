import {
  isPageMessage,
  isShortage,
  type Clock,
  type Member,
  type GroupMessage,
  type RaftSnapshot,
  type Random
} from '@quire/protocol'
import { createRaftNode, type RaftNode, type RaftNodeInit } from '@quire/raft'
import { shortId } from '@quire/net'
import type { Logger } from 'pino'
import type { Stages } from '../observability/stages.js'
import { createGroupServer, type GroupServer, type RaftPort, type ServerLimits } from '../server/index.js'
import {
  PageRepairs,
  type AppliedListener,
  type Receipt,
  type ReceivedSnapshot,
  type RepairCounts,
  type SentSnapshot
} from '../pages/index.js'
import { peerIdOf, type Applied, type ReplicatedConfig } from '../state/index.js'
import { memberIn } from './identity.js'
import { LogEvidence } from './log-evidence.js'
import { openReplica, type Replica, type ReplicaLimits, type ReplicaStorage } from './replica.js'
import { RoleLog } from './role-log.js'
import type { StateReport } from './comparison.js'
import { Scrubbing, type ScrubStatus } from './scrubbing.js'
import { SnapshotLog } from './snapshot-log.js'

export interface PeerGroupComponents {
  readonly storage: ReplicaStorage
  readonly clock: Clock
  readonly random: Random
}

export interface PeerGroupInit {
  /** Its number in every frame. */
  readonly group: number
  /** The peer's PeerId as text. */
  readonly id: string
  /** The configuration for a new storage. */
  readonly cluster?: ReplicatedConfig | undefined
  readonly logger?: Logger | undefined
  readonly stages: Stages
  readonly limits?: Partial<ServerLimits> | undefined
  readonly replicaLimits?: ReplicaLimits | undefined
  readonly raft?: Pick<RaftNodeInit, 'limits'> | undefined
  /** A configuration entry was applied. */
  readonly onConfig: (config: ReplicatedConfig) => void
  /** The role, term or leader of the node has changed. */
  readonly onStatus: () => void
  /** Called with each applied entry, after all other parts have seen it. */
  readonly onApplied: AppliedListener
  /** Called when storage has failed or an invariant broke: the caller must close the group. */
  readonly onFatal: (error: Error) => void
}

/** What a peer stores of a group. */
export interface StoreUsage {
  /** The log's entries from `firstIndex` on. */
  readonly logBytes: number
  readonly firstIndex: number
  /** The file of the pages. */
  readonly fileBytes: number
  /** The part of that file that rows take. The peer reuses the rest. */
  readonly usedBytes: number
}

export interface StoreStatus {
  readonly repairs: RepairCounts
  /** Undefined while a snapshot takes the place of the state. */
  readonly store: StoreUsage | undefined
  /** Snapshots on their way to followers; `to` is the PeerId of the follower, as text. */
  readonly sending: readonly SentSnapshot[]
  /** The snapshot that arrives; undefined if there is none. */
  readonly receiving: ReceivedSnapshot | undefined
  readonly scrub: ScrubStatus
}

/** What a group needs of its peer to take part. */
export interface GroupConnection {
  /** Sends a message to the member with this id. The message may be lost. */
  readonly send: (to: string, message: GroupMessage) => void
  /** The ticks of the Raft node; see `timingOf`. */
  readonly ticks: Required<Pick<RaftNodeInit, 'tickMs' | 'electionTicks' | 'heartbeatTicks'>>
  /** Digest of the configuration that the cluster was founded from. */
  readonly founding: string
  /** The newest configuration that the peer knows. */
  readonly cluster: () => ReplicatedConfig
  /** The peers of the cluster, with their current addresses. */
  readonly members: () => Member[]
  /** Differs from an earlier value when `members` may. */
  readonly membersVersion: () => number
  /** Tells the other members of this peer's state. */
  readonly tellState: (report: StateReport) => void
}

/**
 * Opens the group's storage. Rejects, with nothing left open, when it is damaged or another peer's. Nothing runs before
 * `connect`.
 */
export async function openPeerGroup(components: PeerGroupComponents, init: PeerGroupInit): Promise<PeerGroup> {
  const { storage, clock } = components
  const replica = await openReplica({
    storage,
    peerId: init.id,
    cluster: init.cluster,
    clock,
    stages: init.stages,
    limits: init.replicaLimits,
    // The replica calls neither before the node, which is made from the replica, hands entries in.
    onApplied: (index, applied, term) => group.applied(index, applied, term),
    onCheckpoint: (index) => group.checkpointed(index),
    onCompare: (index, isStored) => group.scrubbing.stored(index, isStored),
    matchIndex: (follower) => group.node?.followers().get(follower)?.matchIndex,
    onInstalled: (snapshot, receipt) => group.installed(snapshot, receipt),
    onRefused: (snapshot, error) => group.snapshotLog.refused(snapshot, error),
    onTransferBegun: (transfer) => group.snapshotLog.begun(transfer),
    onTransferEnded: (transfer) => group.snapshotLog.ended(transfer),
    onDamagedPage: (file, page) => group.damaged(file, page),
    onFault: (fault) => group.storageFault(fault)
  })
  const group = new PeerGroup(components, init, replica)
  return group
}

/**
 * Runs a peer's part of one Raft group.
 *
 * It holds the replica, the Raft node and the server of the group's clients.
 */
export class PeerGroup {
  private parts: { readonly node: RaftNode; readonly server: GroupServer; readonly repairs: PageRepairs } | undefined
  /** Storage lacks room or a descriptor, or has failed. */
  private fault: Error | undefined
  private isReachable = true
  private isDiskLow = false
  private isStopping = false
  readonly evidence: LogEvidence
  readonly snapshotLog: SnapshotLog
  readonly scrubbing: Scrubbing

  constructor(
    private readonly components: PeerGroupComponents,
    private readonly init: PeerGroupInit,
    readonly replica: Replica
  ) {
    const { clock, storage } = components
    this.evidence = new LogEvidence(replica.log, () => this.node)
    this.snapshotLog = new SnapshotLog(this.child('snapshots'), clock)
    this.scrubbing = new Scrubbing({
      self: memberIn({ id: init.id, storage: storage.identity }),
      applier: replica.applier,
      clock,
      limits: init.replicaLimits?.scrub,
      intervalMs: init.replicaLimits?.scrub?.intervalMs,
      divergenceError: (divergence) => replica.divergenceError(divergence),
      onDamagedPage: (file, page) => this.damaged(file, page),
      logger: this.child('scrub'),
      onFatal: init.onFatal
    })
  }

  get id(): number {
    return this.init.group
  }

  /** Undefined until connected. */
  get node(): RaftNode | undefined {
    return this.parts?.node
  }

  /** Undefined until connected. */
  get server(): GroupServer | undefined {
    return this.parts?.server
  }

  connect(connection: GroupConnection): GroupServer {
    const { send, ticks, founding, cluster, members, membersVersion, tellState } = connection
    const { clock, random, storage } = this.components
    const { group, id, limits, stages, onFatal } = this.init
    const { log, applier, snapshots } = this.replica
    const member = memberIn({ id, storage: storage.identity })
    const roles = new RoleLog(this.child('raft'), member)
    const node = createRaftNode(
      {
        clock,
        random,
        log,
        transport: { send },
        application: {
          snapshots,
          appliedIndex: applier.appliedIndex,
          apply: (entries) => this.replica.apply(entries),
          onChange: (status) => {
            roles.changed(status)
            if (status.role !== 'leader') snapshots.endTransfers('this peer no longer leads')
            this.parts?.server.statusChanged()
            this.init.onStatus()
          },
          onFatal
        }
      },
      // The cluster decides the ticks, neither the node nor its operator.
      { ...this.init.raft, id: member, ...ticks }
    )
    const repairs = this.pageRepairs(send, () => others(node, member))
    const server = createGroupServer({
      group,
      self: id,
      founding,
      cluster,
      members,
      membersVersion,
      raft: portOf(node),
      view: applier.state,
      whenRepaired: (file, page, then) => this.whenRepaired(file, page, then),
      clock,
      random,
      stages,
      ...(limits === undefined ? {} : { limits }),
      logger: this.child('server'),
      onFatal
    })
    this.parts = { node, server, repairs }
    this.scrubbing.connect({
      voters: () => node.status().voters,
      mayPropose: () => node.status().ready && this.fault === undefined,
      term: () => node.status().term,
      propose: (data) => node.propose(data),
      tell: tellState
    })
    return server
  }

  storeStatus(): StoreStatus {
    const { log, applier, snapshots } = this.replica
    const usage = applier.usage()
    const store = usage && { logBytes: log.bytes, firstIndex: log.firstIndex, ...usage }
    const sending = snapshots.sending.map((each) => ({ ...each, to: peerIdOf(each.to) }))
    const repairs = this.parts?.repairs.counts ?? { damaged: 0, repaired: 0, lost: 0 }
    return { store, repairs, sending, receiving: snapshots.receiving, scrub: this.scrubbing.status() }
  }

  /** A member has sent the message. */
  receive(from: string, message: GroupMessage): void {
    if (!isPageMessage(message)) return this.parts?.node.receive(from, message)
    try {
      this.parts?.repairs.receive(from, message)
    } catch (error) {
      this.init.onFatal(error as Error)
    }
  }

  /** Resolves when a majority has confirmed that this node leads; undefined while it does not lead. */
  confirmLeadership(): Promise<unknown> | undefined {
    const { node } = this
    return node?.status().ready === true ? node.readIndex() : undefined
  }

  /**
   * Whether others can connect to this peer. While they cannot, another peer should lead. As long as none can, this one
   * goes on for those that are connected.
   */
  setReachable(isReachable: boolean): void {
    this.isReachable = isReachable
    this.tellRoom()
  }

  /** With little space on the disk, the log keeps nothing for followers that are a little behind. */
  setDiskLow(isLow: boolean): void {
    this.isDiskLow = isLow
    const { durableIndex } = this.replica.applier
    if (isLow && durableIndex > 0) this.checkpointed(durableIndex)
  }

  /**
   * Tells the node and the server whether storage has room. A leader without room looks for another leader. While it
   * finds none, it accepts no writes.
   */
  tellRoom(): void {
    this.parts?.node.setRoom(this.fault === undefined && this.isReachable)
    this.parts?.server.setReadOnly(this.fault)
  }

  /**
   * As a leader, hands leadership to another peer, so that the others need not wait for an election timeout. If no peer
   * takes over, they wait.
   */
  async handOn(): Promise<void> {
    try {
      await this.node?.transferLeadership()
    } catch (error) {
      this.init.logger?.debug({ err: error }, 'leadership was not handed on')
    }
  }

  /** Sends clients away and ends Raft with its log. The network must still be there, to tell the clients. */
  async stop(): Promise<void> {
    const { parts } = this
    this.isStopping = true
    this.scrubbing.stop()
    parts?.server.close()
    this.parts?.repairs.stop()
    // A snapshot that waits for space or for its turn would hold the node back.
    this.replica.snapshots.stop()
    const closing = parts === undefined ? this.replica.log.close() : parts.node.close()
    // The node hands in nothing from here on. It waits for entries that are being applied; on a full disk, these wait
    // for room.
    this.replica.applier.stop()
    await closing
  }

  /** After `stop`: makes everything applied durable and closes the page store. */
  async close(): Promise<void> {
    await this.replica.snapshots.close()
    await this.replica.applier.close()
  }

  // ---- from the replica

  applied(index: number, applied: Applied | undefined, term: number): void {
    if (applied !== undefined) {
      const { config } = this.replica.applier.state
      if (applied.type === 'config' && config !== undefined) this.init.onConfig(config)
      if (applied.type === 'compare') this.scrubbing.applied(index)
      this.parts?.server.applied(index, applied)
    }
    this.init.onApplied(index, applied, term)
  }

  /** Each checkpoint is a snapshot, so the log may drop the entries before it. */
  checkpointed(index: number): void {
    const { node } = this
    if (node === undefined || this.isStopping) return
    node.snapshotTaken(node.snapshotMeta(index), this.isDiskLow ? 0 : undefined)
  }

  installed(snapshot: RaftSnapshot, receipt: Receipt): void {
    const { config } = this.replica.applier.state
    this.snapshotLog.installed(snapshot, receipt)
    if (config !== undefined) this.init.onConfig(config)
  }

  storageFault(fault: Error | undefined): void {
    const lack = (fault ?? this.fault)?.name === 'NoDescriptorsError' ? 'file descriptor' : 'room on the disk'
    this.fault = fault
    this.tellRoom()
    if (fault === undefined) this.init.logger?.info(`there is ${lack} again`)
    else if (isShortage(fault)) this.init.logger?.error({ err: fault }, `no ${lack}: no writes are taken`)
    else this.init.onFatal(fault)
  }

  /** The file of the pages has a damaged page. */
  damaged(file: number, page: number): void {
    this.parts?.repairs.found(file, page)
  }

  /** See {@link PageRepairs.whenRepaired}. */
  whenRepaired: PageRepairs['whenRepaired'] = (file, page, then) =>
    this.parts?.repairs.whenRepaired(file, page, then) ?? (() => {})

  private pageRepairs(send: GroupConnection['send'], members: () => readonly string[]): PageRepairs {
    const logger = this.child('pages')
    return new PageRepairs({
      applier: this.replica.applier,
      clock: this.components.clock,
      members,
      send,
      onDamaged: (file, page) => logger?.error({ file, page }, 'a page is damaged: asking other peers for it'),
      onRepaired: (file, page, from) =>
        logger?.info({ file, page, from: shortId(peerIdOf(from)) }, 'a damaged page was repaired'),
      onLost: (file, page) => logger?.error({ file, page }, 'no peer has a good copy of a damaged page')
    })
  }

  private child(component: string): Logger | undefined {
    return this.init.logger?.child({ component })
  }
}

/** The members that have, or will have, the pages. */
function others(node: RaftNode, self: string): string[] {
  const { voters, learners } = node.status()
  return [...voters, ...learners].filter((member) => member !== self)
}

/** Shows the node to the server of its clients, which know peers by their PeerIds. */
function portOf(node: RaftNode): RaftPort {
  return {
    status: () => {
      const { leader, ...status } = node.status()
      return { ...status, leader: leader && peerIdOf(leader) }
    },
    propose: (data) => node.propose(data),
    readIndex: () => node.readIndex()
  }
}
