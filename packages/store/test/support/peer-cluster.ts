/** Whole peers that form a cluster: disks in memory, a fake network and virtual time. */
import type { Network } from '@quire/protocol'
import { createMemoryDisk, type MemoryDisk, type RaftLimits } from '@quire/raft'
import { FakeClock, FakeNet } from '@quire/testing'
import type { Logger } from 'pino'
import { createMemoryStorage, type MemoryStorage } from '../../src/pages/index.js'
import { askToJoin, type JoinedCluster } from '../../src/peer/joining.js'
import { createMemoryIdentity } from '../../src/peer/memory-identity.js'
import { openPeerCore, type PeerCore, type PeerCoreInit } from '../../src/peer/peer-core.js'
import type { ReplicaLimits, ReplicaStorage } from '../../src/peer/replica.js'
import { encodeCommand, type Command, type ReplicatedConfig } from '../../src/state/index.js'
import { filled, PAGE } from '../state-helpers.js'
import { folderOf, founded } from './linked-peer.js'
import { memoryReplica } from './memory-replica.js'

export interface PeerClusterInit {
  readonly replicaLimits?: ReplicaLimits
  readonly raftLimits?: Partial<RaftLimits>
  /** Fields of the founding configuration, such as its admins. */
  readonly config?: Partial<ReplicatedConfig>
  readonly logger?: Logger
  readonly diskSpace?: PeerCoreInit['diskSpace']
}

/** A peer with its disks, which outlive its processes. */
export class ClusterPeer {
  readonly disk: MemoryDisk
  readonly pages: MemoryStorage
  readonly fatal: Error[] = []
  /** The configurations of which its processes have told. */
  readonly configs: ReplicatedConfig[] = []
  /** The indexes of the entries that its processes have applied. */
  readonly applied: number[] = []
  core!: PeerCore
  readonly storage: ReplicaStorage

  constructor(
    readonly id: string,
    private readonly cluster: PeerCluster,
    joined?: { readonly incarnation: string; readonly cluster: JoinedCluster }
  ) {
    const { clock, config } = cluster
    this.disk = createMemoryDisk({ schedule: (delayMs, callback) => clock.schedule(delayMs, callback) })
    this.pages = createMemoryStorage({ schedule: (callback) => clock.schedule(1, callback) })
    this.storage = memoryReplica({
      identity:
        joined === undefined
          ? folderOf(`folder of ${id}`, false)
          : createMemoryIdentity({ incarnation: joined.incarnation, joined: true }),
      founding: config,
      joinedCluster: joined?.cluster,
      openLogDisk: () => this.disk,
      pages: this.pages
    })
  }

  get log() {
    return this.core.root.replica.log
  }

  get status() {
    return this.core.root.node!.status()
  }

  get digest(): string {
    return this.core.root.replica.applier.state.digest()
  }

  async start(): Promise<void> {
    const { clock, config, init } = this.cluster
    let chance = this.id.charCodeAt(0)
    this.core = await this.cluster.run(
      openPeerCore(
        { storage: this.storage, clock, random: { next: () => (++chance * 0.618) % 1 } },
        {
          id: this.id,
          cluster: this.storage.identity.joined ? undefined : config,
          replicaLimits: init.replicaLimits,
          raft: { limits: init.raftLimits ?? {} },
          diskSpace: init.diskSpace,
          logger: init.logger?.child({ self: this.id }),
          onConfig: (next) => this.configs.push(next),
          onApplied: (index) => this.applied.push(index),
          onFatal: (error) => this.fatal.push(error)
        }
      )
    )
    this.core.connect(this.cluster.network(this.id), [`/ip4/127.0.0.1/tcp/1/p2p/${this.id}`])
  }

  stop(): Promise<void> {
    return this.cluster.run(this.core.stop().then(() => this.core.close()))
  }
}

export class PeerCluster {
  readonly clock = new FakeClock()
  readonly config: ReplicatedConfig
  readonly peers: ClusterPeer[]
  private readonly net = new FakeNet(this.clock)
  /** The peers that reach no other. */
  private readonly isolated = new Set<string>()
  private files = 0

  constructor(
    ids: readonly string[],
    readonly init: PeerClusterInit = {}
  ) {
    this.config = founded(ids, init.config)
    // So that a test can look between two messages.
    this.net.roundTripMs = 2
    this.peers = ids.map((id) => new ClusterPeer(id, this))
  }

  /** Starts all peers, and waits for a leader. */
  async start(): Promise<this> {
    for (const peer of this.peers) await peer.start()
    await this.until(() => this.leader !== undefined)
    return this
  }

  /** Starts an invited peer, which joins as a learner. */
  async join(peerId: string, incarnation: string): Promise<ClusterPeer> {
    const seeds = this.config.members
    const init = { network: this.network(peerId), clock: this.clock, seeds, rejoins: '', advice: '', logger: undefined }
    const invited = await this.run(askToJoin(init))
    const cluster = await this.run(askToJoin(init, { incarnation, cluster: invited }))
    const peer = new ClusterPeer(peerId, this, { incarnation, cluster })
    this.peers.push(peer)
    await peer.start()
    return peer
  }

  async stop(): Promise<void> {
    for (const peer of this.peers) await peer.stop()
  }

  get leader(): ClusterPeer | undefined {
    return this.peers.find(({ id, status }) => status.ready && !this.isolated.has(id))
  }

  network(id: string): Network {
    const node = this.net.node(id)
    return {
      ...node,
      dial: (remote, addresses, options) => {
        if (this.isCut(id, remote)) return Promise.reject(new Error(`no way to ${remote}`))
        return node.dial(remote, addresses, options)
      }
    }
  }

  /** Cuts the peer off from all others, but not from clients. */
  isolate({ id }: ClusterPeer): void {
    this.isolated.add(id)
    for (const stream of this.net.streams) {
      if (this.isCut(stream.remote, stream.other.remote)) stream.abort(new Error(`${id} is cut off`))
    }
  }

  private isCut(...ends: readonly string[]): boolean {
    const arePeers = ends.every((end) => this.peers.some(({ id }) => id === end))
    return arePeers && ends.some((end) => this.isolated.has(end))
  }

  heal(): void {
    this.isolated.clear()
  }

  /** Makes so many files with a page each, and waits until the leader has applied this. Each takes four entries. */
  async store(count: number): Promise<void> {
    const leader = this.leader!
    let last = 0
    const propose = (command: Command): number => {
      last = leader.core.root.node!.propose(encodeCommand(command)).index
      return last
    }
    const at = 0
    for (let i = 0; i < count; i++) {
      const path = `/file ${++this.files}`
      const session = propose({ type: 'openSession', clientId: path, ttlMs: 600_000, at })
      const request = { session, seq: 1, settled: 0, at }
      const options = { create: true, exclusive: false, size: PAGE, pageSize: 0, unit: undefined }
      const file = propose({ type: 'open', ...request, path, ...options })
      const page = { file, page: 0, seq: 1 }
      propose({ type: 'handover', file, page: 0, from: 0, fromEpoch: 0, to: session, pages: [undefined], at })
      propose({ type: 'writeback', session, pages: [{ ...page, epoch: 1, bytes: filled(this.files) }], at })
      await this.until(() => leader.status.appliedIndex >= last)
    }
  }

  /** A session opens the file, and owns and changes the first byte of its first page. Resolves when that is applied. */
  async patch(file: number, value: number): Promise<void> {
    const { session, propose } = this.opening(file)
    const before = this.leader!.core.root.replica.applier.state.owner(file, 0)
    const [at, page] = [0, 0]
    const from = { from: before.session, fromEpoch: before.epoch }
    propose({ type: 'handover', file, page, ...from, to: session, pages: [undefined], at })
    const diff = { ranges: [{ offset: 0, length: 1 }], bytes: Uint8Array.of(value) }
    const pages = [{ file, page, epoch: before.epoch + 1, seq: 1, ...diff }]
    await this.applied(propose({ type: 'writeback', session, pages, at }))
  }

  /** Shortens a file, and waits until the leader has applied this. */
  async truncate(file: number, size: number): Promise<void> {
    const { session, propose } = this.opening(file)
    const request = { session, settled: 0, at: 0 }
    await this.applied(propose({ type: 'truncate', ...request, seq: 2, file, size, tail: undefined }))
  }

  /** Proposes a session that opens the file with its first request. */
  private opening(file: number): { readonly session: number; readonly propose: (command: Command) => number } {
    const { root } = this.leader!.core
    const propose = (command: Command): number => root.node!.propose(encodeCommand(command)).index
    const { path } = root.replica.applier.state.file(file)!
    const session = propose({ type: 'openSession', clientId: `opens ${file}`, ttlMs: 600_000, at: 0 })
    const options = { create: false, exclusive: false, size: 0, pageSize: 0, unit: undefined }
    propose({ type: 'open', session, seq: 1, settled: 0, at: 0, path, ...options })
    return { session, propose }
  }

  private async applied(index: number): Promise<void> {
    const leader = this.leader!
    await this.until(() => leader.status.appliedIndex >= index)
  }

  /** Waits until all peers have applied the leader's last entry, and no other follows. */
  async converge(): Promise<void> {
    await this.until(() => this.peers.every(({ status }) => status.appliedIndex === this.leader?.status.lastIndex))
  }

  async until(done: () => boolean): Promise<void> {
    if (!(await this.clock.until(done))) throw new Error('it does not happen within a minute')
  }

  async run<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const watched = work.finally(() => (isOver = true))
    watched.catch(() => {})
    await this.until(() => isOver)
    return watched
  }
}
