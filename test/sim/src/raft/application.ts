import { CorruptionError } from '@quire/protocol'
import type { Entry, RaftApplication, RaftStatus, SnapshotMeta, SnapshotStore } from '@quire/raft'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { SimProcess } from '../process.js'
import { Violation } from '../violation.js'
import { ReplicatedState } from './commands.js'
import type { ApplicationSettings } from './settings.js'

/** A snapshot that nobody has read for this long is no longer being sent. */
const READING_MS = 200

const SPIKE = 0.03

interface Snapshot {
  readonly meta: SnapshotMeta
  readonly bytes: Uint8Array
}

/**
 * Holds the snapshots that one node has on its disk.
 *
 * They survive crashes, and are lost when the node's disk is wiped.
 */
export class SnapshotDisk {
  newest: Snapshot | undefined
  /** The snapshots that can still be read, by index. */
  readonly kept = new Map<number, Snapshot & { readAt: number }>()
  /** The pieces of another node's snapshot. */
  incoming: { readonly meta: SnapshotMeta; readonly pieces: Uint8Array[]; bytes: number } | undefined
  /** The next installation fails. */
  refusesNext = false

  /** Replaces the newest snapshot. The old one stays for a while if it is being read. */
  keep(snapshot: Snapshot, nowMs: number): void {
    this.newest = snapshot
    for (const [index, { readAt }] of this.kept) if (readAt + READING_MS < nowMs) this.kept.delete(index)
    this.kept.set(snapshot.meta.index, { ...snapshot, readAt: -Infinity })
  }

  /** Removes old snapshots, even while they are being read. */
  dropOld(): void {
    for (const index of [...this.kept.keys()]) if (index !== this.newest?.meta.index) this.kept.delete(index)
  }
}

interface ApplicationWorld {
  readonly process: SimProcess
  readonly random: RandomSource
  readonly coverage: Coverage
  readonly settings: ApplicationSettings
  readonly disk: SnapshotDisk
  /** Operations may occasionally take very long. */
  readonly isNoisy: () => boolean
  /** Broken on purpose: this entry has another effect here than on other nodes. */
  readonly isMisapplied: (index: number) => boolean
  /** An entry was applied; `hash` is the state's hash after it. */
  readonly onApplied: (entry: Entry, hash: number) => void
  /** The state machine was replaced by a snapshot. */
  readonly onInstalled: (meta: SnapshotMeta, hash: number) => void
  readonly onTaken: (meta: SnapshotMeta) => void
  /** Returns undefined while the node closes. */
  readonly snapshotMeta: (index: number) => SnapshotMeta | undefined
  readonly onChange: (status: RaftStatus) => void
  readonly onFatal: (error: Error) => void
}

/**
 * Runs the state machine in one life of a simulated node, with its snapshots.
 *
 * The durable part of it is on a `SnapshotDisk`.
 */
export class SimApplication implements RaftApplication {
  readonly snapshots: SnapshotStore
  state: ReplicatedState
  appliedIndex: number
  /** The index of the newest snapshot that this life has taken. */
  takenIndex = 0
  private applying = false
  private installing = false
  private writing = false
  private taking = false

  constructor(private readonly world: ApplicationWorld) {
    const { disk } = world
    this.appliedIndex = disk.newest?.meta.index ?? 0
    this.state = (disk.newest && ReplicatedState.fromBytes(disk.newest.bytes)) ?? new ReplicatedState()
    this.snapshots = {
      get newest() {
        return disk.newest?.meta
      },
      read: (_to, index, offset, maxBytes) => this.read(index, offset, maxBytes),
      write: (meta, offset, data) => this.write(meta, offset, data),
      install: (meta) => this.install(meta)
    }
  }

  onChange(status: RaftStatus): void {
    this.world.onChange(status)
  }

  onFatal(error: Error): void {
    this.world.onFatal(error)
  }

  apply(entries: readonly Entry[]): void | Promise<void> {
    if (this.applying || this.installing) throw new Violation('one after the other', 'entries came while it was busy')
    const { settings, random } = this.world
    if (settings.applyMs === 0) {
      this.applyNow(entries)
      return undefined
    }
    this.applying = true
    return this.later(this.spike() ?? random.exponential(settings.applyMs), 'applies', () => {
      this.applying = false
      this.applyNow(entries)
    })
  }

  private applyNow(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index !== this.appliedIndex + 1) {
        throw new Violation('applied in order', `${entry.index} after ${this.appliedIndex}`)
      }
      this.state.apply(entry)
      if (this.world.isMisapplied(entry.index)) this.state.hash++
      this.appliedIndex = entry.index
      this.world.onApplied(entry, this.state.hash)
    }
    this.takeWhenDue()
  }

  // ---- snapshots of its own

  private takeWhenDue(): void {
    const { settings, disk } = this.world
    if (this.taking || this.appliedIndex < (disk.newest?.meta.index ?? 0) + settings.snapshotEntries) return
    this.taking = true
    // After this turn, the node knows that all entries are applied.
    this.world.process.after('io', 0, `${this.world.process.name} takes a snapshot`, () => this.take())
  }

  private take(): void {
    const { settings, random, disk, coverage, process } = this.world
    if (this.applying || this.installing) {
      this.taking = false
      return
    }
    const meta = this.world.snapshotMeta(this.appliedIndex)
    if (meta === undefined) return
    if (meta.index !== this.appliedIndex) {
      throw new Violation('snapshots name their index', `${meta.index} instead of ${this.appliedIndex}`)
    }
    const bytes = this.state.toBytes(settings.ballastBytes)
    process.after('io', random.exponential(settings.snapshotMs), `${process.name} has a snapshot`, () => {
      this.taking = false
      // Another node's snapshot may have arrived meanwhile.
      if (this.installing || (disk.newest?.meta.index ?? 0) >= meta.index) return
      disk.keep({ meta, bytes }, process.clock.now())
      coverage.add('snapshots taken')
      this.takenIndex = meta.index
      this.world.onTaken(meta)
      this.takeWhenDue()
    })
  }

  private read(index: number, offset: number, maxBytes: number): ReturnType<SnapshotStore['read']> {
    const { disk, coverage } = this.world
    return this.later(this.delay(), 'reads a piece', () => {
      const snapshot = disk.kept.get(index)
      if (snapshot === undefined) {
        coverage.add('snapshots gone while they are sent')
        return undefined
      }
      snapshot.readAt = this.world.process.clock.now()
      const end = Math.min(offset + maxBytes, snapshot.bytes.length)
      coverage.add('pieces')
      return { data: snapshot.bytes.slice(offset, end), done: end === snapshot.bytes.length }
    })
  }

  // ---- somebody else's snapshot

  private write(meta: SnapshotMeta, offset: number, data: Uint8Array): Promise<void> {
    if (this.writing || this.installing) throw new Violation('one after the other', 'a piece came while it was busy')
    this.writing = true
    const { disk } = this.world
    return this.later(this.delay(), 'writes a piece', () => {
      this.writing = false
      if (offset === 0) disk.incoming = { meta, pieces: [], bytes: 0 }
      const { incoming } = disk
      if (incoming === undefined || incoming.meta.index !== meta.index || incoming.bytes !== offset) {
        const facts = `${offset} of ${meta.index} after ${incoming?.bytes} of ${incoming?.meta.index}`
        throw new Violation('pieces follow one another', facts)
      }
      incoming.pieces.push(data)
      incoming.bytes += data.length
    })
  }

  private install(meta: SnapshotMeta): Promise<void> {
    if (this.applying || this.installing || this.writing) {
      throw new Violation('one after the other', 'a snapshot came while it was busy')
    }
    if (meta.index <= this.appliedIndex) {
      throw new Violation('a stale snapshot is ignored', `${meta.index} is installed over ${this.appliedIndex}`)
    }
    this.installing = true
    return this.later(this.delay() * 2, 'installs', () => {
      this.installing = false
      this.installNow(meta)
    })
  }

  private installNow(meta: SnapshotMeta): void {
    const { disk, coverage } = this.world
    const { incoming } = disk
    disk.incoming = undefined
    if (disk.refusesNext) {
      disk.refusesNext = false
      coverage.add('snapshots refused')
      throw new CorruptionError('snapshot', 0, 'refused on purpose')
    }
    if (incoming === undefined || incoming.meta.index !== meta.index || incoming.meta.term !== meta.term) {
      throw new Violation('pieces follow one another', `${meta.index} is installed without its pieces`)
    }
    const bytes = Uint8Array.from(Buffer.concat(incoming.pieces))
    const state = ReplicatedState.fromBytes(bytes)
    if (state === undefined) throw new Violation('a torn piece is not stored', `snapshot ${meta.index} makes no sense`)
    this.state = state
    this.appliedIndex = meta.index
    disk.keep({ meta, bytes }, this.world.process.clock.now())
    coverage.add('snapshots installed')
    if (incoming.pieces.length > 1) coverage.add('snapshots of several pieces')
    this.world.onInstalled(meta, state.hash)
  }

  private delay(): number {
    const { random, settings } = this.world
    return this.spike() ?? random.exponential(Math.min(settings.snapshotMs, 5) / 2)
  }

  private spike(): number | undefined {
    const { random, isNoisy } = this.world
    return isNoisy() && random.is(SPIKE) ? random.between(20, 200) : undefined
  }

  private later<T>(ms: number, what: string, run: () => T): Promise<T> {
    const { process } = this.world
    return new Promise((resolve, reject) => {
      process.after('io', ms, `${process.name} ${what}`, () => {
        try {
          resolve(run())
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}
