/** The simulated peers: real ones, on disks in memory that forget what a crash would lose. */
import { NoSpaceError, type Member, type RaftSighting, type Random } from '@quire/protocol'
import type { Disk, MemoryDisk } from '@quire/raft'
import {
  askToJoin,
  decodeMemory,
  foundingDigest,
  mayConnect,
  normalizeCluster,
  openPeerCore,
  type Applied,
  type JoinedCluster,
  type PeerCore,
  type ReplicaStorage
} from '@quire/store/internal'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { CrashMoments } from './crash-moments.js'
import { copyFolder, incarnationOf, makeFolder, storageIn, type Folder, type FolderInit } from './folder.js'
import { addressOf, memberIdOf, nameOf, PEER_IDS } from './ids.js'
import type { SimNetwork } from './network.js'
import type { SimNode } from './network-types.js'
import type { PeerSettings } from './peer-settings.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { watchDisk } from './watched-disk.js'
import { WatchedRows } from './watched-rows.js'

export interface PeerWorld {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly coverage: Coverage
  readonly random: RandomSource
  readonly settings: PeerSettings
  /** The members that a peer asks when it joins. */
  readonly seeds: () => readonly Member[]
  /** A peer applied an entry. */
  readonly onApplied: (peer: SimPeer, index: number, applied: Applied | undefined) => void
  /** The first piece of a snapshot has arrived at a peer. */
  readonly onReceiving: (peer: SimPeer) => void
  /** A peer could not start, or stopped by itself. */
  readonly onFatal: (peer: SimPeer, error: Error) => void
}

const CLUSTER_ID = 'simulated'
const CLUSTER = {
  clusterId: CLUSTER_ID,
  voters: PEER_IDS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] })),
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

interface PeerInit {
  readonly id: string
  /** The cluster is founded with this peer; any other one has to join. */
  readonly isFounder: boolean
  /** Numbers the processes beside that of the peer itself, under the same key. */
  readonly twin?: number
}

/**
 * Runs one peer through all its lives.
 *
 * It holds the disks of the peer and the process that runs now, if any.
 */
export class SimPeer {
  readonly id: string
  readonly name: string
  /** An operator wants the peer to run. */
  isInstalled: boolean
  /** How often the peer has moved to another address. */
  private moves = 0
  process: SimProcess | undefined
  core: PeerCore | undefined
  /** Incremented at each start. */
  life = 0
  /** When the last process of each member that the peer was has ended, by member id. */
  readonly endedAt = new Map<string, number>()
  /** Where the first process on a folder that must not take part began. */
  oldFolderStart = { term: 0, lastIndex: 0 }
  /** The rows of this life. */
  rows: WatchedRows | undefined
  /** Each write to the log takes so much longer, at once or from the next start on. */
  slowLogMs = 0
  nextSlowLogMs = 0
  /** The peer stops in order. */
  isStopping = false
  /** The largest file that its logs ever had. */
  largestFileBytes = 0
  /** Undefined on an empty machine, whose next process has to join. */
  private folder: Folder | undefined
  /** The member whose folder the peer has lost, and whose place it asks for; or empty. */
  rejoins = ''
  /** The newest folder, while the peer runs on an older one. */
  private newest: Folder | undefined
  /** The older folder may be started more than once. */
  private mayStartAgain = true
  private folders = 0
  /** Writes to the log of this life that are under way. */
  private writing = 0
  private checkpointed = 0
  private readonly random: RandomSource
  /** Moments in which the present process may crash. */
  readonly moments: CrashMoments

  constructor(
    private readonly init: PeerInit,
    private readonly world: PeerWorld
  ) {
    const { id, isFounder, twin } = init
    this.id = id
    this.name = twin === undefined ? nameOf(id) : `${nameOf(id)} twin ${twin}`
    this.random = world.random.fork(twin === undefined ? id : `${id} twin ${twin}`)
    this.isInstalled = isFounder
    this.folder = isFounder ? this.emptyFolder() : undefined
    this.moments = new CrashMoments({
      name: this.name,
      scheduler: world.scheduler,
      random: this.random,
      diskLatencyMs: world.settings.diskLatencyMs,
      whileAlive: () => {
        const { life } = this
        return () => life === this.life && this.process !== undefined
      }
    })
  }

  get isUp(): boolean {
    return this.process !== undefined
  }

  get isOnOldFolder(): boolean {
    return this.newest !== undefined
  }

  /** The member that the peer is with its present folder; undefined without one. */
  get member(): string | undefined {
    return this.folder && memberIdOf(this.id, incarnationOf(this.folder))
  }

  /** Whether the log of its folder has been made, so that the peer runs as a member. */
  get hasLog(): boolean {
    return this.folder?.isFounded === true
  }

  /** Returns what this peer durably remembers of another member. */
  remembered(member: string): RaftSighting | undefined {
    if (this.folder === undefined) return undefined
    return decodeMemory(this.folder.identity.remembered).peers.find((each) => each.member === member)
  }

  /** Makes a folder of another incarnation: for a founding voter, or for a peer that joins. */
  emptyFolder(joinedCluster?: JoinedCluster): Folder {
    const incarnation = `${this.name} ${String(++this.folders).padStart(4, '0')}`
    return makeFolder({ incarnation, joinedCluster, ...this.disk() })
  }

  private disk(): Omit<FolderInit, 'incarnation' | 'joinedCluster'> {
    const delayMs = (): number => {
      const { diskLatencyMs } = this.world.settings
      return this.world.network.isFaulty && this.random.is(0.01)
        ? this.random.between(20, 200)
        : this.random.exponential(diskLatencyMs)
    }
    return {
      delayMs,
      logDelayMs: (operation) => (operation === 'write' ? this.slowLogMs : 0) + delayMs(),
      later: (delayMs, callback) => void this.process?.after('io', delayMs, `${this.name} disk`, callback)
    }
  }

  /** Where others reach the peer, or its next process. */
  get address(): string {
    return addressOf(this.id, this.moves)
  }

  /** The peer, which does not run, gets another address. */
  move(): void {
    this.moves++
  }

  /** Copies the folder while no process uses it. */
  copyFolder(): Folder {
    return copyFolder(this.folder!)
  }

  /** An operator sets the peer up on an empty machine. It joins a cluster. */
  install(): void {
    this.isInstalled = true
    this.start()
  }

  /** Ends the peer for good, and returns its folder, if it had any. */
  uninstall(withMachine: boolean): Folder | undefined {
    this.crash(withMachine)
    this.isInstalled = false
    this.rejoins = ''
    return this.takeFolder()
  }

  /** Loses the folder of a peer that does not run. The next process asks for the peer's own place. */
  wipe(): Folder | undefined {
    this.rejoins = this.member!
    return this.takeFolder()
  }

  private takeFolder(): Folder | undefined {
    const folder = this.newest ?? this.folder
    this.folder = undefined
    this.newest = undefined
    return folder
  }

  /** Starts on a copy of a folder, on another machine. */
  startAsTwin(folder: Folder): void {
    this.folder = copyFolder(folder, this.disk())
    this.isInstalled = true
    this.start()
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
    const { scheduler, network } = this.world
    const life = ++this.life
    this.writing = 0
    this.moments.reset()
    this.isStopping = false
    const rate = this.random.between(0.9955, 1.0045)
    const process = new SimProcess(this.name, scheduler, this.random.fork(`process ${life}`), rate)
    this.process = process
    const { id, twin } = this.init
    const node = twin !== undefined ? network.attachTwin(id, process) : network.attach(id, process, this.address)
    const { folder } = this
    if (folder === undefined || (folder.joinedCluster !== undefined && !folder.isFounded)) this.join(process, node)
    else this.open(process, node, folder)
  }

  /** Waits until the peer is invited, makes a folder, and becomes a member with it. */
  private join(process: SimProcess, node: SimNode): void {
    const { coverage, seeds, onFatal } = this.world
    const { rejoins } = this
    const { clock } = process
    const init = { network: node, clock, seeds: seeds(), rejoins, advice: '', logger: undefined }
    const becomeMember = async (): Promise<void> => {
      const invited = await askToJoin(init)
      if (!process.alive) return
      const folder = this.emptyFolder(invited)
      this.folder = folder
      const { incarnation } = folder.identity
      folder.joinedCluster = await askToJoin(init, { incarnation, cluster: invited })
      if (!process.alive) return
      coverage.add(rejoins === '' ? 'joins' : 'joins in place of a lost folder')
      this.open(process, node, folder)
    }
    becomeMember().catch((error: unknown) => {
      if (process.alive) onFatal(this, error as Error)
    })
  }

  private open(process: SimProcess, node: SimNode, folder: Folder): void {
    const { scheduler, settings } = this.world
    const random: Random = this.random.fork(`random ${this.life}`)
    const alive = (): boolean => process.alive
    const isFounder = folder.joinedCluster === undefined
    const allow = (id: string): true | string => {
      const config = this.core?.config ?? folder.joinedCluster?.config
      return config === undefined || mayConnect(config, id)
    }
    const opening = openPeerCore(
      { storage: this.storage(folder), clock: process.clock, random },
      {
        id: this.id,
        cluster: isFounder ? this.founded() : undefined,
        limits: {
          leaseTickMs: 50,
          handshakeTimeoutMs: Math.max(2000, HANDSHAKE_ROUND_TRIPS * settings.roundTripMs),
          creditBytes: settings.creditBytes,
          maxFaults: settings.maxFaults,
          maxProposalBytes: settings.maxProposalBytes
        },
        replicaLimits: settings,
        raft: { limits: settings.raft },
        onConfig: () => node.setAllow(allow),
        onApplied: (index, applied) => this.applied(index, applied),
        onFatal: (error) => alive() && this.world.onFatal(this, error)
      }
    )
    opening.then(
      (core) => {
        if (!alive()) return
        this.connect(core, node)
        node.setAllow(allow)
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
    if (folder !== undefined) {
      folder.last = this.lastEntry() ?? folder.last
      folder.log = folder.log.crash(() => this.random.next())
      folder.pages.crash({ keepPending: this.random.is(0.3) })
    }
    this.end(process, withMachine)
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
    const { folder } = this
    if (folder !== undefined) folder.last = this.lastEntry() ?? folder.last
    this.end(process, false)
  }

  /**
   * How a folder that must not take part has changed since it began; undefined if it has not. A folder that hears no
   * message of Raft stays as it is, and so nothing that it sent was answered.
   */
  tookPart(): string | undefined {
    const { node } = this.core?.root ?? {}
    if (node === undefined) return undefined
    const { term, lastIndex, leader } = node.status()
    const before = this.oldFolderStart
    if (term === before.term && lastIndex === before.lastIndex && leader === undefined) return undefined
    const terms = `term ${before.term} -> ${term}`
    return `${this.name}: ${terms}, last entry ${before.lastIndex} -> ${lastIndex}, leader ${leader}`
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
    if (this.member !== undefined) this.endedAt.set(this.member, this.world.scheduler.now)
    this.folder?.identity.crash()
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

  private connect(core: PeerCore, node: SimNode): void {
    this.core = core
    this.slowLogMs = this.nextSlowLogMs
    const takesNoPart = this.isOnOldFolder || this.init.twin !== undefined
    if (takesNoPart && this.oldFolderStart.lastIndex === 0) {
      const { hardState, lastIndex } = core.root.replica.log
      this.oldFolderStart = { term: hardState.term, lastIndex }
    }
    core.connect(node, [this.address])
    if (core.root.replica.applier.durableIndex > 0) this.world.coverage.add('restores from a checkpoint')
  }

  private founded(): ReturnType<typeof normalizeCluster> {
    const { roundTripMs, admins } = this.world.settings
    return normalizeCluster({ ...CLUSTER, admins, roundTripMs })
  }

  private storage(folder: Folder): ReplicaStorage {
    this.rows = new WatchedRows({
      storage: folder.pages,
      onReceiving: () => this.world.onReceiving(this),
      onAdopting: () => this.moments.adopting(),
      onAdopted: () => this.moments.adopted()
    })
    return storageIn(folder, {
      clusterId: CLUSTER_ID,
      founding: foundingDigest(this.founded()),
      name: this.name,
      pages: this.rows,
      logDisk: () => this.watchedDisk(folder.log)
    })
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
        this.moments.writing()
        hash.number(offset).bytes(data)
        await write().finally(() => count(-1))
      }
    })
  }
}
