/** The simulated peers: real ones, on disks in memory that forget what a crash would lose. */
import { NoSpaceError, type Member, type RaftSighting } from '@quire/protocol'
import type { Disk, MemoryDisk } from '@quire/raft'
import { decodeMemory, type Applied, type JoinedCluster, type PeerCore } from '@quire/store/internal'
import type { RandomSource } from '@quire/testing'
import { PAGE_BYTES } from './page-layout.js'
import type { Coverage } from '../coverage.js'
import { Bystander } from './bystander.js'
import { CrashMoments } from './crash-moments.js'
import { copyFolder, incarnationOf, makeFolder, type Folder, type FolderInit } from './folder.js'
import { addressOf, memberIdOf, nameOf } from './ids.js'
import type { SimNetwork } from './network.js'
import type { SimNode } from './network-types.js'
import { joinCluster, openPeer } from './peer-opening.js'
import type { PeerSettings } from './peer-settings.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { watchDisk } from './watched-disk.js'
import { WatchedRows } from './watched-rows.js'

/** The parts of a page in its two rows (docs/storage.md, Layout). */
const HEAD_BYTES = 45
const TAIL_BYTES = 28

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
  /** Watches the present folder, if it must not take part. */
  private bystander = new Bystander()
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

  /** Whether its folder has been admitted: it counts in votes. */
  get isAdmitted(): boolean {
    return this.folder?.identity.admitted === true
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

  /**
   * Flips a bit of some row of a page, or loses the head of one. Returns false if there is no such row. A page that
   * lost both of its rows would be a hole to every reader.
   */
  rot(random: RandomSource): boolean {
    const pages = this.folder?.pages
    if (pages === undefined) return false
    if (random.is(0.25)) return pages.loseHead(random.int(0, 15))
    const table = random.pick(['heads', 'bodies'] as const)
    const bytes = table === 'heads' ? HEAD_BYTES : PAGE_BYTES - TAIL_BYTES
    return pages.damage(table, random.int(0, 15), random.int(0, 8 * bytes - 1))
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
    this.bystander = new Bystander()
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

  private join(process: SimProcess, node: SimNode): void {
    const { coverage, seeds, onFatal } = this.world
    const { rejoins } = this
    const makeFolder = (invited: JoinedCluster): Folder => {
      this.folder = this.emptyFolder(invited)
      return this.folder
    }
    joinCluster({ process, node, seeds: seeds(), rejoins, makeFolder }).then(
      (folder) => {
        if (!process.alive) return
        coverage.add(rejoins === '' ? 'joins' : 'joins in place of a lost folder')
        this.open(process, node, folder)
      },
      (error: unknown) => {
        if (process.alive) onFatal(this, error as Error)
      }
    )
  }

  private open(process: SimProcess, node: SimNode, folder: Folder): void {
    const { scheduler, settings, onReceiving, onFatal, coverage } = this.world
    const { id, name, moments } = this
    const fatal = (error: Error): void => {
      if (process.alive) onFatal(this, error)
    }
    const rows = new WatchedRows({
      storage: folder.pages,
      onReceiving: () => onReceiving(this),
      onAdopting: () => moments.adopting(),
      onAdopted: () => moments.adopted()
    })
    this.rows = rows
    openPeer({
      ...{ id, name, folder, process, node, rows, settings },
      random: this.random.fork(`random ${this.life}`),
      logDisk: () => this.watchedDisk(folder.log),
      onApplied: (index, applied) => this.applied(index, applied),
      onFatal: fatal
    }).then(
      (core) => {
        if (process.alive) this.connect(core, node)
      },
      (error: unknown) => {
        if (!process.alive) return
        if (!(error instanceof NoSpaceError)) return fatal(error as Error)
        coverage.add('starts that found no space')
        this.crash(false)
        scheduler.after(RETRY_START_MS, `${name} starts again`, () => {
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

  /** How a folder that must not take part has changed since it began; undefined if it has not. */
  tookPart(): string | undefined {
    const change = this.bystander.change(this.core)
    return change && `${this.name}: ${change}`
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
    if (this.isOnOldFolder || this.init.twin !== undefined) this.bystander.opened(core)
    core.connect(node, [this.address])
    if (core.root.replica.applier.durableIndex > 0) this.world.coverage.add('restores from a checkpoint')
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
