import { CorruptionError, type Clock, type RaftMessage } from '@quire/protocol'
import {
  createMemoryDisk,
  createRaftNode,
  createSegmentedLog,
  LogFullError,
  type LogCreation,
  type LogWrite,
  type RaftLog,
  type RaftNode,
  type RaftStatus
} from '@quire/raft'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { SimApplication, SnapshotDisk } from './application.js'
import { WORST_FACTOR } from './bounds.js'
import { SimDisk } from './disk.js'
import type { RaftInvariants } from './invariants.js'
import { WatchedLog } from './log-watch.js'
import type { RaftNetwork } from './network.js'
import type { ObservedNode } from './observed-node.js'
import type { LeaderTenure } from './leader-tenure.js'
import { PendingProposals } from './pending-proposals.js'
import type { RaftSettings } from './settings.js'
import { tickIn } from './ticks.js'

/**
 * Breaks a state machine on purpose: this node applies the entry at this index differently. The simulation must notice.
 */
export type Sabotage = (at: { readonly node: string; readonly life: number; readonly index: number }) => boolean

interface NodeWorld {
  readonly scheduler: Scheduler
  readonly network: RaftNetwork
  readonly coverage: Coverage
  readonly random: RandomSource
  readonly settings: RaftSettings
  readonly invariants: RaftInvariants
  readonly tenure: LeaderTenure
  readonly sabotage: Sabotage | undefined
  /** The node must be checked after this event. */
  readonly touched: (node: SimNode) => void
  /** Its log was opened, or refused to open. */
  readonly onOpened: (node: SimNode) => void
  readonly onRefused: (node: SimNode, error: Error) => void
  /** It is empty, and has a new name. */
  readonly renamed: (node: SimNode, before: string) => void
  /** The node's timer has fired. */
  readonly ticked: (node: SimNode) => void
  /** It stopped by itself. */
  readonly onFatal: (node: SimNode, error: Error) => void
}

/** Returns the part of a write that a full log has kept. */
function keptOf({ hardState, reset, entries }: LogWrite, { stored }: LogFullError, log: RaftLog): LogWrite {
  const commit = Math.min(hardState?.commit ?? 0, log.lastIndex)
  return {
    hardState: hardState && { ...hardState, commit },
    entries: reset === undefined ? entries.filter(({ index }) => index <= stored) : []
  }
}

/**
 * A log does not read old entries at its start. A node stops when it comes upon a damaged one, which it may never do.
 * So that damage has the same end in all runs, this reads all entries now.
 */
function damageIn(log: RaftLog): CorruptionError | undefined {
  try {
    for (let next = log.firstIndex; next <= log.lastIndex;) {
      next = log.entries(next, log.lastIndex + 1, 1 << 20).at(-1)!.index + 1
    }
    return undefined
  } catch (error) {
    if (error instanceof CorruptionError) return error
    throw error
  }
}

/** Runs one simulated node through all its lives. */
export class SimNode implements ObservedNode {
  readonly watched = new WatchedLog()
  process: SimProcess | undefined
  node: RaftNode | undefined
  log: RaftLog | undefined
  application: SimApplication | undefined
  life = 0
  /** Ticks of the running node, in which it measures time. A stalled process misses some. */
  ticks = 0
  disk!: SimDisk
  snapshots!: SnapshotDisk
  /** Proposals of this life that wait for their entry. */
  pending = new PendingProposals()
  /** How to create its log. Undefined once it has one. */
  creation: LogCreation | undefined
  /** Its disk is damaged. It must not start until it is wiped. */
  isLost = false
  /** Only the operator may start it. */
  isHeld = false
  /** It is closing, and gets no more calls. */
  isClosing = false
  /** Its disk has no room for another segment. */
  isFull = false
  /** Slows its disk down. */
  diskFactor = 1
  /** Disk operations that begin earlier do not end before this time. */
  diskHangsUntil = 0
  /** Its id in the cluster. A lost log takes its id with it: the node comes back under another one. */
  name: string
  private disks = 1
  private readonly random: RandomSource

  constructor(
    private readonly machine: string,
    private readonly world: NodeWorld
  ) {
    this.name = machine
    this.random = world.random.fork(machine)
    this.makeDisks()
  }

  /** The status of the running node. */
  get status(): RaftStatus | undefined {
    return this.node?.status()
  }

  get isUp(): boolean {
    return this.process !== undefined
  }

  /** It has had a log, or was told to create one. */
  get exists(): boolean {
    return this.creation !== undefined || this.life > 0
  }

  start(): void {
    if (this.isUp) return
    const { scheduler, settings } = this.world
    const life = ++this.life
    const rate = this.random.between(1 - settings.skew, 1 + settings.skew)
    const process = new SimProcess(this.name, scheduler, this.random.fork(`process ${life}`), rate)
    process.onEnter = () => this.world.touched(this)
    this.process = process
    this.pending = new PendingProposals()
    this.isClosing = false
    this.isFull = false
    const { segmentBytes, cacheBytes } = settings.disk
    createSegmentedLog({
      disk: this.disk.open(),
      segmentBytes,
      cacheBytes,
      identity: `simulated ${this.name}`,
      create: this.creation,
      clock: process.clock,
      onSpace: (fault) => {
        this.isFull = fault !== undefined
        if (this.isFull) this.world.coverage.add('logs without space')
        this.node?.setRoom(!this.isFull)
      }
    }).then(
      (log) => {
        if (!process.alive) return
        const damage = this.isLost ? damageIn(log) : undefined
        if (damage === undefined) return this.guard(() => this.opened(process, log))
        this.world.coverage.add('damage found in old entries')
        this.world.onRefused(this, damage)
      },
      (error: unknown) => {
        if (process.alive) this.world.onRefused(this, error as Error)
      }
    )
  }

  receive(from: string, message: RaftMessage, label: string): void {
    const { process } = this
    process?.enter('io', label, () => {
      if (this.node === undefined) return
      this.world.tenure.delivered(this.name, from)
      this.world.invariants.votes.delivered(this, from, message)
      this.node.receive(from, message)
    })
  }

  /** Runs `ask` in the process, with the running node. */
  call(label: string, ask: (node: RaftNode) => void): void {
    this.process?.enter('io', label, () => {
      if (this.node !== undefined && !this.isClosing) ask(this.node)
    })
  }

  /** Power loss. */
  crash(): void {
    if (this.process === undefined) return
    const { coverage } = this.world
    coverage.add('crashes')
    if (this.status?.role === 'leader') coverage.add('crashes of a leader')
    if (this.disk.isWriting) coverage.add('crashes in a write')
    this.disk.crash(this.random)
    this.end()
  }

  /**
   * Crashes in the middle of the next write to the log that `isWanted` accepts: before the write is durable, or just
   * after.
   */
  crashInWrite(isWanted: (offset: number, sectors: number) => boolean, crash: () => void): void {
    const { life } = this
    this.disk.onWrite = (offset, sectors) => {
      if (!isWanted(offset, sectors)) return
      this.disk.onWrite = undefined
      this.world.scheduler.after(
        this.random.exponential(this.world.settings.disk.latencyMs / 6),
        `${this.name} crashes`,
        () => {
          if (life === this.life && this.process !== undefined) crash()
        }
      )
    }
  }

  /** Closes the node in order, then ends its process. */
  async close(): Promise<void> {
    const { process, node } = this
    if (process === undefined || node === undefined || this.isClosing) return
    this.isClosing = true
    this.world.coverage.add('orderly closes')
    await node.close()
    if (process.alive) this.end()
  }

  /** Ends the process. Its disk keeps what was written. */
  end(): void {
    this.process?.kill()
    this.process = undefined
    this.node = undefined
    this.log = undefined
    this.application = undefined
    this.disk.onWrite = undefined
  }

  /** Erases its disks. */
  wipe(creation: LogCreation | undefined): void {
    const { name } = this
    this.makeDisks()
    this.watched.wipe()
    this.name = `${this.machine}.${++this.disks}`
    this.world.renamed(this, name)
    this.creation = creation
    this.isLost = false
  }

  /** Checks the node after an event that touched it. */
  check(): void {
    const { node, log, application, watched } = this
    const { invariants } = this.world
    if (node === undefined || log === undefined || application === undefined) return
    invariants.check(this)
    invariants.checkApplied(this, application.appliedIndex)
    if (log.lastIndex !== watched.lastIndex && !this.isClosing) {
      throw new Violation('a log shows what is durable', `${this.name}: ${log.lastIndex}, flushed ${watched.lastIndex}`)
    }
    if (log.firstIndex > watched.base + 1) {
      watched.base = log.firstIndex - 1
      this.world.coverage.add('compactions')
    }
  }

  private opened(process: SimProcess, log: RaftLog): void {
    const { invariants, coverage, network, settings, scheduler, sabotage } = this.world
    const { watched, name, life } = this
    if (this.disk.tornWrites > 0) coverage.add('torn tails', this.disk.tornWrites)
    // What a start has not read stays unread in half of the lives.
    invariants.log.recovered(name, watched, log, life % 2 === 0)
    const newest = this.snapshots.newest?.meta.index ?? 0
    if (log.firstIndex - 1 > newest) {
      throw new Violation(
        'compaction keeps what is in no snapshot',
        `${name}: log from ${log.firstIndex}, snapshot ${newest}`
      )
    }
    if (newest > log.lastIndex) coverage.add('starts with a snapshot ahead of the log')
    this.creation = undefined
    this.watch(log)
    const random = this.random.fork(`life ${life}`)
    const alive = (): boolean => process.alive
    const application = new SimApplication({
      process,
      random: random.fork('application'),
      coverage,
      settings: settings.application,
      disk: this.snapshots,
      isNoisy: () => network.isNoisy,
      isMisapplied: (index) => sabotage?.({ node: name, life, index }) === true,
      onApplied: (entry, hash) => {
        scheduler.hash.text(name).number(entry.index).number(hash)
        invariants.applied(name, entry, hash)
        if (entry.kind === 'config') this.node?.setTickMs(tickIn(entry))
        if (alive()) this.pending.applied(entry.index, entry.term)
      },
      onInstalled: (meta, hash) => {
        invariants.installed(name, meta, hash)
        this.node?.setTickMs(tickIn(meta.configuration))
        this.pending.overtaken(meta.index)
      },
      onTaken: (meta) => {
        if (!this.isClosing) this.node?.snapshotTaken(meta)
      },
      snapshotMeta: (index) => {
        if (this.isClosing || this.node === undefined) return undefined
        const meta = this.node.snapshotMeta(index)
        invariants.checkSnapshot(name, meta)
        return meta
      },
      onChange: () => {},
      onFatal: (error) => {
        if (!alive()) return
        this.guard(() => this.check())
        this.world.onFatal(this, error)
      }
    })
    this.log = log
    this.application = application
    const { electionTicks, heartbeatTicks, limits } = settings
    // Of the newest configuration in the log, whether applied or not.
    const configured = log.configurations.at(-1)
    const tickMs = configured === undefined ? settings.tickMs : tickIn(configured)
    this.node = createRaftNode(
      {
        clock: this.ticking(process.clock),
        random: random.fork('random'),
        log,
        application,
        transport: {
          send: (to, message) => {
            if (!alive()) return
            invariants.votes.sent(this, to, message)
            if (message.type === 'append') invariants.log.sent(name, message)
            network.send(name, to, message)
          }
        }
      },
      { id: name, tickMs, electionTicks, heartbeatTicks, limits }
    )
    this.node.setRoom(!this.isFull)
    this.world.onOpened(this)
    this.world.touched(this)
  }

  /** Returns a clock that counts the node's ticks. The node schedules nothing else. */
  private ticking(clock: Clock): Clock {
    this.ticks = 0
    const schedule = (ms: number, tick: () => void): (() => void) =>
      clock.schedule(ms, () => {
        this.world.ticked(this)
        this.ticks++
        tick()
      })
    return { ...clock, schedule }
  }

  /** Observes what the node hands to its log, and sees that it is durable before the node does. */
  private watch(log: RaftLog): void {
    const { life, watched, name, snapshots } = this
    const { invariants } = this.world
    const append = log.append.bind(log)
    const compact = log.compact.bind(log)
    log.append = (write) => {
      invariants.log.appending(name, watched, write, this.status?.role === 'leader')
      invariants.checkProposed(this, write.entries)
      const isDurable = (durable: LogWrite, isWhole: boolean): void => {
        if (life !== this.life) return
        invariants.log.durable(name, watched, write, durable)
        if (!isWhole) this.world.coverage.add('writes given back')
        if (durable.entries.some(({ kind }) => kind === 'config')) invariants.checkConfigurations(name, watched)
      }
      return append(write).then(
        () => isDurable(write, true),
        (error: unknown) => {
          if (error instanceof LogFullError) isDurable(keptOf(write, error, log), false)
          throw error
        }
      )
    }
    log.compact = (index) => {
      const newest = snapshots.newest?.meta.index ?? 0
      if (index > newest || index > watched.lastIndex) {
        const facts = `${name} compacts to ${index}, its snapshot is ${newest}, its log ends at ${watched.lastIndex}`
        throw new Violation('compaction keeps what is in no snapshot', facts)
      }
      return compact(index)
    }
  }

  private makeDisks(): void {
    const { network, settings } = this.world
    const later = (delayMs: number, callback: () => void): void => {
      this.process?.after('io', delayMs, `${this.name} disk`, callback)
    }
    const boundedMs = (): number => {
      const drawnMs = this.random.exponential(settings.disk.latencyMs)
      return network.isNoisy ? drawnMs : Math.min(drawnMs, WORST_FACTOR * settings.disk.latencyMs)
    }
    const usualMs = (): number =>
      network.isNoisy && this.random.is(0.005) ? this.random.between(20, 200) : boundedMs() * this.diskFactor
    const latencyMs = (): number => Math.max(usualMs(), this.diskHangsUntil - this.world.scheduler.now)
    this.disk = new SimDisk(createMemoryDisk({ schedule: later, latencyMs }), this.world.scheduler.hash)
    this.snapshots = new SnapshotDisk()
  }

  private guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.world.onFatal(this, error as Error)
    }
  }
}
