/**
 * Applies committed entries to the state machine, and checkpoints their changes.
 *
 * A checkpoint starts when the active memtable of the page store is full, after a number of entries, or some time after
 * the first change. Further entries are applied while a checkpoint runs. If they fill the second memtable before it
 * ends, `apply` returns a promise, and the log waits.
 */
import { assert, ClosedError, NoSpaceError, type Clock, type RaftSnapshot } from '@quire/protocol'
import { createStateMachine, type Applied, type StoredPage } from '../state/index.js'
import type { Applier, ApplierInit, CommittedEntry } from './applier-types.js'
import type { Backend, BackendUsage } from './backend.js'
import type { DamagedPage } from './page-rows.js'
import type { PageStore, RowsView } from './page-store.js'
import { Pauses } from './pauses.js'
import type { Divergence } from './record-rows.js'
import type { SnapshotReader } from './snapshot-pieces.js'

/** Restores the state machine from the store. Throws CorruptionError. */
export function createApplier(init: ApplierInit): Applier {
  return new CheckpointingApplier(init)
}

/** Applies committed entries with checkpoints in between. */
class CheckpointingApplier implements Applier {
  readonly state
  fault: Error | undefined
  private readonly store: PageStore
  private readonly clock: Clock
  private readonly checkpointEntries: number
  private readonly checkpointIntervalMs: number
  private readonly retryMs: number
  /** Calls of `apply` that wait for a checkpoint, in a chain. */
  private held: Promise<void> | undefined
  private running: Promise<void> | undefined
  /** The flush of the checkpoint that runs; between two attempts on a full disk, the one that failed. */
  private flushing: Promise<boolean> | undefined
  private marking: Promise<void> | undefined
  private frozenIndex: number
  /** The active memtable has repaired rows, so it is worth a checkpoint without an entry. */
  private hasRepaired = false
  /** The compare entry that was applied last, until the memtable is frozen after it. */
  private comparing: number | undefined
  private cancelTimer: (() => void) | undefined
  private readonly pauses: Pauses
  private isFinal = false
  /** Another state takes the place of this one, so there is nothing to checkpoint. */
  isReplacing = false
  private stopped = false
  private closing: Promise<void> | undefined

  constructor(private readonly init: ApplierInit) {
    this.store = init.store
    this.clock = init.clock
    this.pauses = new Pauses(init.clock)
    this.checkpointEntries = init.checkpointEntries ?? 10_000
    this.checkpointIntervalMs = init.checkpointIntervalMs ?? 5_000
    this.retryMs = init.retryMs ?? 1_000
    this.state = createStateMachine(init.store, init.store.restored, init.maxReleased)
    this.frozenIndex = this.state.appliedIndex
  }

  get appliedIndex(): number {
    return this.state.appliedIndex
  }

  get durableIndex(): number {
    return this.store.durableIndex
  }

  get installed(): RaftSnapshot | undefined {
    return this.store.installed
  }

  forgetInstalled(): Promise<void> {
    return this.store.forgetInstalled()
  }

  get diverged(): Divergence | undefined {
    return this.store.diverged
  }

  apply(entries: readonly CommittedEntry[]): void | Promise<void> {
    const waiting =
      this.held === undefined ? this.applyFrom(entries, 0) : this.held.then(() => this.applyFrom(entries, 0))
    if (waiting === undefined) return undefined
    const held = waiting.finally(() => {
      if (this.held === held) this.held = undefined
    })
    this.held = held
    return held
  }

  async checkpoint(): Promise<void> {
    const target = this.appliedIndex
    while (this.durableIndex < target) {
      this.refuseWhenStopped()
      await this.startCheckpoint()
    }
  }

  openSnapshot(): SnapshotReader {
    return this.store.openSnapshot()
  }

  openView(): RowsView {
    return this.store.openView()
  }

  rewriteRecords(): void {
    this.store.rewriteRecords(this.state.records())
    this.hasRepaired = true
    this.scheduleCheckpoint()
  }

  markDiverged(divergence: Divergence, reason: Error): Promise<void> {
    this.isFinal = true
    this.fault = reason
    this.stopWaiting()
    this.marking = Promise.resolve(this.running).then(() => this.store.markDiverged(divergence))
    return this.marking
  }

  async replace(adopt: () => Promise<Backend>): Promise<void> {
    assert(this.held === undefined, 'the state is replaced while entries wait for a checkpoint')
    this.isReplacing = true
    this.stopWaiting()
    await this.running
    this.refuseWhenStopped()
    try {
      await this.store.replace(adopt)
      this.state.reset(this.store.restored)
    } catch (error) {
      // Neither the former state nor the new one is there. The snapshot may be at fault, but a new one cannot help.
      this.isFinal = true
      this.setFault(error as Error)
      throw error
    }
    this.frozenIndex = this.appliedIndex
    this.hasRepaired = false
    this.comparing = undefined
    this.isReplacing = false
    this.setFault(undefined)
  }

  damage(file: number, page: number): DamagedPage | undefined {
    return this.store.damage(file, page)
  }

  repair(file: number, page: number, copy: StoredPage | undefined): void {
    this.store.repair(file, page, copy)
    this.hasRepaired = true
    this.scheduleCheckpoint()
  }

  get isFull(): boolean {
    return this.store.isFull
  }

  usage(): BackendUsage | undefined {
    return this.isReplacing ? undefined : this.store.usage()
  }

  stop(): void {
    this.stopped = true
    this.stopWaiting()
  }

  close(): Promise<void> {
    this.stop()
    this.closing ??= this.shutDown()
    return this.closing
  }

  private applyFrom(entries: readonly CommittedEntry[], from: number): void | Promise<void> {
    for (let at = from; at < entries.length; at++) {
      const entry = entries[at] as CommittedEntry
      if (entry.index <= this.appliedIndex) continue
      this.refuseWhenStopped()
      const freezing = this.freezeForComparison()
      if (freezing !== undefined) return freezing.then(() => this.applyFrom(entries, at))
      if (this.store.isFull) {
        const running = this.startCheckpoint()
        // Both memtables are full: the log waits until the frozen one is on disk.
        if (this.store.isFull) return running.then(() => this.applyFrom(entries, at))
      }
      this.applyOne(entry)
    }
    const freezing = this.freezeForComparison()
    if (freezing !== undefined) return freezing.then(() => this.applyFrom([], 0))
    this.scheduleCheckpoint()
    return undefined
  }

  /**
   * Freezes the memtable as the state after a compare entry that was just applied. Returns a promise to wait for while
   * an earlier memtable is being written, before which no other entry may be applied.
   */
  private freezeForComparison(): Promise<unknown> | undefined {
    const index = this.comparing
    if (index === undefined) return undefined
    this.refuseWhenStopped()
    if (this.fault !== undefined) {
      // It may take long until there is room, and entries must be applied meanwhile.
      this.comparing = undefined
      this.init.onCompare?.(index, false)
      return undefined
    }
    // The checkpoint freezes the memtable before it waits for anything.
    if (this.running === undefined) void this.startCheckpoint()
    return this.comparing === undefined ? undefined : this.flushing
  }

  private applyOne(entry: CommittedEntry): void {
    let applied: Applied | undefined
    try {
      applied = this.state.apply(entry.index, entry.kind, entry.data)
    } catch (error) {
      // No checkpoint may follow, because the state machine may have applied the entry in part. A restart begins at the
      // last checkpoint.
      this.isFinal = true
      this.setFault(error as Error)
      throw error
    }
    if (applied?.type === 'compare') this.comparing = entry.index
    this.init.onApplied?.(entry.index, applied, entry.term)
  }

  // -- checkpoints

  private get mayCheckpoint(): boolean {
    return !this.isFinal && !this.stopped && !this.isReplacing
  }

  private scheduleCheckpoint(): void {
    const entries = this.appliedIndex - this.frozenIndex
    const isClean = entries === 0 && !this.hasRepaired
    if (this.running !== undefined || isClean || !this.mayCheckpoint) return
    if (this.store.isFull || entries >= this.checkpointEntries) {
      void this.startCheckpoint()
      return
    }
    this.cancelTimer ??= this.clock.schedule(this.checkpointIntervalMs, () => {
      this.cancelTimer = undefined
      void this.startCheckpoint()
    })
  }

  /** Starts a checkpoint unless one runs. The promise never rejects; it resolves when the checkpoint ends or fails. */
  private startCheckpoint(): Promise<void> {
    this.running ??= this.runCheckpoint()
    return this.running
  }

  private async runCheckpoint(): Promise<void> {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    // After a failure the frozen memtable is still there, and has to be written first.
    const compared = this.store.hasFrozen ? undefined : this.freeze()
    let isDone = await this.tryFlush()
    while (!isDone && this.mayCheckpoint) {
      await this.pauses.wait(this.retryMs)
      // `stop` waits for a flush that runs, but starts no other.
      if (this.mayCheckpoint) isDone = await this.tryFlush()
    }
    this.running = undefined
    // First, because the view has to be opened before another commit begins.
    if (isDone && compared !== undefined) this.init.onCompare?.(compared, true)
    if (isDone) this.init.onCheckpoint?.(this.durableIndex)
    this.scheduleCheckpoint()
  }

  /** Returns the index of the compare entry if the memtable is now frozen right after one. */
  private freeze(): number | undefined {
    const { comparing } = this
    this.store.freeze(this.appliedIndex)
    this.frozenIndex = this.appliedIndex
    this.hasRepaired = false
    this.comparing = undefined
    return comparing
  }

  private stopWaiting(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.pauses.end()
  }

  private tryFlush(): Promise<boolean> {
    this.flushing = this.flush()
    return this.flushing
  }

  private async flush(): Promise<boolean> {
    try {
      await this.store.flush()
    } catch (error) {
      assert(error instanceof Error, `a checkpoint failed with ${String(error)}`)
      if (!(error instanceof NoSpaceError)) this.isFinal = true
      this.setFault(error)
      return false
    }
    if (!this.isFinal) this.setFault(undefined)
    return true
  }

  private setFault(fault: Error | undefined): void {
    // Each condition is reported once, however many retries meet it.
    const isChange = this.fault?.name !== fault?.name
    this.fault = fault
    if (isChange) this.init.onFault?.(fault)
  }

  // -- end

  private refuseWhenStopped(): void {
    if (this.stopped) throw new ClosedError('page store')
    if (this.isFinal) throw this.fault as Error
  }

  private async shutDown(): Promise<void> {
    await this.running
    // The caller of `markDiverged` has its error.
    await this.marking?.catch(() => {})
    // Two checkpoints where a memtable is frozen: that one goes first. A checkpoint without progress found no space.
    for (let before = -1; !this.isFinal && before < this.durableIndex && this.durableIndex < this.appliedIndex;) {
      before = this.durableIndex
      await this.startCheckpoint()
    }
    await this.store.close()
  }
}
