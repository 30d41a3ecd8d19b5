/** The simulated peers: real ones, on disks in memory that forget what a crash would lose. */
import { NoSpaceError, type Network, type RaftSighting, type Random } from '@quire/protocol'
import { createMemoryDisk, type Disk, type MemoryDisk, type RaftLimits } from '@quire/raft'
import {
  createMemoryIdentity,
  createMemoryStorage,
  decodeMemory,
  foundingDigest,
  normalizeCluster,
  openPeerCore,
  type Applied,
  type MemoryIdentity,
  type MemoryStorage,
  type PeerCore,
  type ReplicaLimits,
  type ReplicaStorage
} from '@quire/store/internal'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { addressOf, nameOf, PEER_IDS } from './ids.js'
import type { SimNetwork } from './network.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { watchDisk } from './watched-disk.js'
import { WatchedRows } from './watched-rows.js'

interface PeerWorld {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly coverage: Coverage
  readonly random: RandomSource
  readonly settings: PeerSettings
  /** A peer applied an entry. */
  readonly onApplied: (peer: SimPeer, index: number, applied: Applied | undefined) => void
  /** The first piece of a snapshot has arrived at a peer. */
  readonly onReceiving: (peer: SimPeer) => void
  /** A peer could not start, or stopped by itself. */
  readonly onFatal: (peer: SimPeer, error: Error) => void
}

export interface PeerSettings {
  readonly diskLatencyMs: number
  readonly segmentBytes: number
  readonly maxMemtableBytes: number
  readonly checkpointEntries: number
  readonly checkpointIntervalMs: number
  /** The round trip that the cluster is founded with. */
  readonly roundTripMs: number
  readonly creditBytes: number
  readonly maxFaults: number
  readonly maxProposalBytes: number
  readonly raft: Pick<RaftLimits, 'retainedBytes' | 'maxPieceBytes'>
  readonly snapshots: NonNullable<ReplicaLimits['snapshots']>
}

const CLUSTER_ID = 'simulated'
const CLUSTER = {
  clusterId: CLUSTER_ID,
  voters: PEER_IDS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] })),
  admins: [],
  clients: 'any' as const
}
/** For a client that is as far from the leader as the leader is from the others. */
const HANDSHAKE_ROUND_TRIPS = 10
/** A peer that finds no space when it starts is started again after this time. */
const RETRY_START_MS = 200

const CRASHES_IN = {
  receiving: 'crashes while a snapshot arrived',
  adopting: 'crashes in an adoption',
  adopted: 'crashes between an adoption and the reset of the log'
} as const

/** The disks of a peer. */
export interface Folder {
  log: MemoryDisk
  readonly pages: MemoryStorage
  readonly identity: MemoryIdentity
  isFounded: boolean
  /** The log has no entry behind this one. */
  last: { readonly term: number; readonly index: number }
}

/**
 * Runs one peer through all its lives.
 *
 * It holds the disks of the peer and the process that runs now, if any.
 */
export class SimPeer {
  readonly name: string
  process: SimProcess | undefined
  core: PeerCore | undefined
  /** Incremented at each start. */
  life = 0
  /** Where the first process on an older folder began. */
  oldFolderStart = { term: 0, lastIndex: 0 }
  /** The rows of this life. */
  rows: WatchedRows | undefined
  /** The peer stops in order. */
  isStopping = false
  /** The largest file that its logs ever had. */
  largestFileBytes = 0
  private folder: Folder
  /** The newest folder, while the peer runs on an older one. */
  private newest: Folder | undefined
  /** The older folder may be started more than once. */
  private mayStartAgain = true
  private folders = 0
  /** Writes to the log of this life that are under way. */
  private writing = 0
  private onWrite: (() => void) | undefined
  private onAdopting: (() => void) | undefined
  private onAdopted: (() => void) | undefined
  private checkpointed = 0
  private readonly random: RandomSource

  constructor(
    readonly id: string,
    private readonly world: PeerWorld
  ) {
    this.name = nameOf(id)
    this.random = world.random.fork(id)
    this.folder = this.emptyFolder()
  }

  get isUp(): boolean {
    return this.process !== undefined
  }

  get isOnOldFolder(): boolean {
    return this.newest !== undefined
  }

  /** Returns what this peer durably remembers of another one. */
  remembered(peerId: string): RaftSighting | undefined {
    return decodeMemory(this.folder.identity.remembered).peers.find(({ member }) => member === peerId)
  }

  emptyFolder(): Folder {
    const delay = (): number => {
      const { diskLatencyMs } = this.world.settings
      return this.world.network.isFaulty && this.random.is(0.01)
        ? this.random.between(20, 200)
        : this.random.exponential(diskLatencyMs)
    }
    const later = (delayMs: number, callback: () => void): void => {
      this.process?.after('io', delayMs, `${this.name} disk`, callback)
    }
    const incarnation = `${this.name} ${String(++this.folders).padStart(4, '0')}`
    return {
      log: createMemoryDisk({ schedule: later, latencyMs: delay }),
      pages: createMemoryStorage({ schedule: (callback) => later(delay() * 3, callback) }),
      identity: createMemoryIdentity({ incarnation, schedule: (callback) => later(delay(), callback) }),
      isFounded: false,
      last: { term: 0, index: 0 }
    }
  }

  /** Copies the folder while no process uses it. */
  copyFolder(): Folder {
    const { log, pages, identity, isFounded, last } = this.folder
    return { log: log.copy(), pages: pages.copy(), identity: identity.copy(), isFounded, last }
  }

  /**
   * Starts a process on another folder, and puts the peer's own aside. Each start raises the boot, so the next start is
   * on the peer's own folder unless `mayStartAgain`.
   */
  startOn(folder: Folder, mayStartAgain: boolean): void {
    this.newest = this.folder
    this.folder = folder
    this.oldFolderStart = { term: 0, lastIndex: 0 }
    this.mayStartAgain = true
    this.start()
    this.mayStartAgain = mayStartAgain
  }

  startOnNewest(): void {
    this.folder = this.newest!
    this.newest = undefined
    this.start()
  }

  start(): void {
    if (this.isOnOldFolder && !this.mayStartAgain) return this.startOnNewest()
    const { scheduler, network, settings } = this.world
    const life = ++this.life
    this.writing = 0
    this.onWrite = undefined
    this.onAdopting = undefined
    this.onAdopted = undefined
    this.isStopping = false
    const rate = this.random.between(0.9955, 1.0045)
    const process = new SimProcess(this.name, scheduler, this.random.fork(`process ${life}`), rate)
    this.process = process
    const node = network.attach(this.id, process)
    const random: Random = this.random.fork(`random ${life}`)
    const alive = (): boolean => process.alive
    const opening = openPeerCore(
      { storage: this.storage(), clock: process.clock, random },
      {
        id: this.id,
        cluster: this.founded(),
        limits: {
          leaseTickMs: 50,
          handshakeTimeoutMs: Math.max(2000, HANDSHAKE_ROUND_TRIPS * settings.roundTripMs),
          creditBytes: settings.creditBytes,
          maxFaults: settings.maxFaults,
          maxProposalBytes: settings.maxProposalBytes
        },
        replicaLimits: settings,
        raft: { limits: settings.raft },
        onApplied: (index, applied) => this.applied(index, applied),
        onFatal: (error) => alive() && this.world.onFatal(this, error)
      }
    )
    opening.then(
      (core) => {
        if (alive()) this.connect(core, node)
      },
      (error: unknown) => {
        if (!alive()) return
        if (!(error instanceof NoSpaceError)) return this.world.onFatal(this, error as Error)
        this.world.coverage.add('starts that found no space')
        this.crash(false)
        scheduler.after(RETRY_START_MS, `${this.name} starts again`, () => {
          if (this.process === undefined) this.start()
        })
      }
    )
  }

  /** Ends the process now. Its disks keep any part of what was not flushed. */
  crash(withMachine: boolean): void {
    const { process } = this
    if (process === undefined) return
    this.world.coverage.add('peer crashes')
    if (this.core?.root.node?.status().role === 'leader') this.world.coverage.add('leader crashes')
    if (this.writing > 0) this.world.coverage.add('crashes with a write under way')
    const stage = this.rows?.stage ?? 'none'
    if (stage !== 'none') this.world.coverage.add(CRASHES_IN[stage])
    const { folder } = this
    folder.last = this.lastEntry() ?? folder.last
    folder.log = folder.log.crash(() => this.random.next())
    folder.pages.crash({ keepPending: this.random.is(0.3) })
    this.end(process, withMachine)
  }

  /** Crashes in the middle of the next write to the log: before the write is durable, or just after. */
  crashInWrite(crash: () => void): void {
    const { life } = this
    this.onWrite = () => {
      this.onWrite = undefined
      const { scheduler, settings } = this.world
      scheduler.after(this.random.exponential(settings.diskLatencyMs), `${this.name} crashes`, () => {
        if (life === this.life && this.process !== undefined) crash()
      })
    }
  }

  /** Crashes during the next adoption of a snapshot's rows in this life: before the rows are in use, or after. */
  crashInAdoption(crash: () => void): void {
    const { life } = this
    this.onAdopting = () => {
      const { scheduler, settings } = this.world
      scheduler.after(this.random.exponential(settings.diskLatencyMs * 3), `${this.name} crashes`, () => {
        if (life === this.life && this.process !== undefined) crash()
      })
    }
  }

  /** Crashes after the next adoption of a snapshot's rows, in the next write to the log, which lets it start anew. */
  crashAfterAdoption(crash: () => void): void {
    this.onAdopted = () => this.crashInWrite(crash)
  }

  /** Lets the page store find no space, or find it again. */
  setFull(isFull: boolean): void {
    const fault = isFull ? new NoSpaceError(`${this.name}/pages`) : undefined
    for (const folder of [this.folder, this.newest]) folder?.pages.failWith(fault)
  }

  /** Stops the peer in order, then ends its process. */
  async stop(): Promise<void> {
    const { process, core } = this
    if (process === undefined || core === undefined) return
    this.world.coverage.add('orderly stops')
    this.isStopping = true
    await core.stop()
    await core.close()
    if (!process.alive) return
    this.folder.last = this.lastEntry() ?? this.folder.last
    this.end(process, false)
  }

  /** The last entry that the log may hold after a crash now. Writes under way may survive it. */
  private lastEntry(): Folder['last'] | undefined {
    if (this.core === undefined) return undefined
    const { node, replica } = this.core.root
    if (node === undefined || this.writing === 0) {
      const { log } = replica
      return { index: log.lastIndex, term: log.term(log.lastIndex) ?? 0 }
    }
    const { term, lastIndex } = node.status()
    return { index: lastIndex, term }
  }

  private end(process: SimProcess, withMachine: boolean): void {
    process.kill()
    this.folder.identity.crash()
    this.process = undefined
    this.core = undefined
    this.rows = undefined
    this.world.network.died(this.id, withMachine)
  }

  private applied(index: number, applied: Applied | undefined): void {
    const durable = this.core?.root.replica.applier.durableIndex ?? 0
    if (durable > this.checkpointed) this.world.coverage.add('checkpoints')
    this.checkpointed = durable
    this.world.onApplied(this, index, applied)
  }

  private connect(core: PeerCore, node: Network): void {
    this.core = core
    if (this.isOnOldFolder && this.oldFolderStart.lastIndex === 0) {
      const { hardState, lastIndex } = core.root.replica.log
      this.oldFolderStart = { term: hardState.term, lastIndex }
    }
    core.connect(node, [addressOf(this.id)])
    if (core.root.replica.applier.durableIndex > 0) this.world.coverage.add('restores from a checkpoint')
  }

  private founded(): ReturnType<typeof normalizeCluster> {
    return normalizeCluster({ ...CLUSTER, roundTripMs: this.world.settings.roundTripMs })
  }

  private storage(): ReplicaStorage {
    const { folder } = this
    const { identity } = folder
    this.rows = new WatchedRows({
      storage: folder.pages,
      onReceiving: () => this.world.onReceiving(this),
      onAdopting: () => this.onAdopting?.(),
      onAdopted: () => this.onAdopted?.()
    })
    return {
      clusterId: CLUSTER_ID,
      founding: foundingDigest(this.founded()),
      incarnation: identity.incarnation,
      joined: identity.joined,
      joinedCluster: undefined,
      get admitted() {
        return identity.admitted
      },
      get remembered() {
        return identity.remembered
      },
      admit: () => identity.admit(),
      remember: (text) => identity.remember(text),
      get bootstrapped() {
        return folder.isFounded
      },
      completeBootstrap: () => {
        folder.isFounded = true
      },
      logPath: `${this.name}/log`,
      pagesPath: `${this.name}/pages`,
      openLogDisk: () => this.watchedDisk(folder.log),
      pages: this.rows
    }
  }

  private watchedDisk(disk: MemoryDisk): Disk {
    const { life } = this
    const { hash } = this.world.scheduler
    const count = (change: number): void => {
      if (life === this.life) this.writing += change
    }
    return watchDisk(disk, {
      created: (bytes) => {
        this.largestFileBytes = Math.max(this.largestFileBytes, bytes)
      },
      write: async (offset, data, write) => {
        count(1)
        this.onWrite?.()
        hash.number(offset).bytes(data)
        await write().finally(() => count(-1))
      }
    })
  }
}
