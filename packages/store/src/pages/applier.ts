/**
 * Applies committed entries to the state machine and checkpoints what they change.
 *
 * A checkpoint starts when the newest generation of the page store is full, after a number of entries, or after a while. It runs
 * beside further entries; when those fill the second generation first, `apply` returns a promise and the log waits.
 */
import { assert, ClosedError, NoSpaceError, type Clock } from '@quire/protocol'
import { createStateMachine, type Applied, type EntryKind, type StateView } from '../state/index.js'
import type { PageStore } from './page-store.js'

export interface CommittedEntry {
  readonly index: number
  readonly term: number
  readonly kind: EntryKind
  /** An encoded command; for a 'config' entry its application context. Not kept. */
  readonly data: Uint8Array
}

/** `applied` is undefined for entries that say nothing to the state machine (a new leader's no-op). */
export type AppliedListener = (index: number, applied: Applied | undefined, term: number) => void

export interface ApplierInit {
  /** Belongs to the applier from here on. */
  readonly store: PageStore
  readonly clock: Clock
  /** Entries between two checkpoints: bounds how much a restart replays. Default 10,000. */
  readonly checkpointEntries?: number
  /** A change waits this long for a checkpoint at most, unless the disk is slower. Default 5,000. */
  readonly checkpointIntervalMs?: number
  /** Pause before a checkpoint that found no space is tried again. Default 1,000. */
  readonly retryMs?: number
  /** Called after each entry, in order, before the next one is applied. */
  readonly onApplied?: AppliedListener
  /**
   * Called when the condition changes: with a NoSpaceError while checkpoints find no space (reads go on; no write should be taken),
   * with undefined when they do again. Any other error is final: nothing more is applied and the peer has to stop.
   */
  readonly onFault?: (fault: Error | undefined) => void
}

export interface Applier {
  readonly state: StateView & { digest(): string }
  readonly appliedIndex: number
  /** Entries up to this one are on disk in the page store; the log needs to replay from the next. */
  readonly durableIndex: number
  readonly fault: Error | undefined
  /**
   * Applies the entries in order; those up to `appliedIndex` are passed over. A promise when some of them have to wait for a
   * checkpoint: later calls queue behind it. Throws or rejects with what the state machine threw (the peer has to stop),
   * ClosedError after `close`.
   */
  apply(entries: readonly CommittedEntry[]): void | Promise<void>
  /** Everything applied so far is on disk when it resolves. Waits out a full disk. */
  checkpoint(): Promise<void>
  /**
   * Applies nothing more. Calls of `apply` that are held back reject with ClosedError as soon as the flush that is under way has ended:
   * on a full disk they would wait for ever.
   */
  stop(): void
  /**
   * Stops, checkpoints once more and closes the store. Resolves also when that checkpoint failed (`fault` says why): the log
   * has everything that it would have held.
   */
  close(): Promise<void>
}

/** Restores the state that the store holds. Throws CorruptionError. */
export function createApplier(init: ApplierInit): Applier {
  return new ApplierImpl(init)
}

class ApplierImpl implements Applier {
  readonly state
  fault: Error | undefined
  private readonly store: PageStore
  private readonly clock: Clock
  private readonly checkpointEntries: number
  private readonly checkpointIntervalMs: number
  private readonly retryMs: number
  /** The calls of `apply` that wait, one behind the other. */
  private held: Promise<void> | undefined
  private running: Promise<void> | undefined
  private frozenIndex: number
  private cancelTimer: (() => void) | undefined
  private endRetryPause: (() => void) | undefined
  private isFinal = false
  private stopped = false
  private closing: Promise<void> | undefined

  constructor(private readonly init: ApplierInit) {
    this.store = init.store
    this.clock = init.clock
    this.checkpointEntries = init.checkpointEntries ?? 10_000
    this.checkpointIntervalMs = init.checkpointIntervalMs ?? 5_000
    this.retryMs = init.retryMs ?? 1_000
    this.state = createStateMachine(init.store, init.store.restored)
    this.frozenIndex = this.state.appliedIndex
  }

  get appliedIndex(): number {
    return this.state.appliedIndex
  }

  get durableIndex(): number {
    return this.store.durableIndex
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

  stop(): void {
    this.stopped = true
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.endRetryPause?.()
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
      if (this.store.full) {
        const running = this.startCheckpoint()
        // Both generations are full: the log waits until the older one is on disk.
        if (this.store.full) return running.then(() => this.applyFrom(entries, at))
      }
      this.applyOne(entry)
    }
    this.scheduleCheckpoint()
    return undefined
  }

  private applyOne(entry: CommittedEntry): void {
    let applied: Applied | undefined
    try {
      applied = this.state.apply(entry.index, entry.kind, entry.data)
    } catch (error) {
      // The entry may have been applied in part, so no checkpoint may follow: a restart begins at the last good one.
      this.isFinal = true
      this.setFault(error as Error)
      throw error
    }
    this.init.onApplied?.(entry.index, applied, entry.term)
  }

  // -- checkpoints

  private scheduleCheckpoint(): void {
    const entries = this.appliedIndex - this.frozenIndex
    if (this.running !== undefined || entries === 0 || this.isFinal || this.stopped) return
    if (this.store.full || entries >= this.checkpointEntries) {
      void this.startCheckpoint()
      return
    }
    this.cancelTimer ??= this.clock.schedule(this.checkpointIntervalMs, () => {
      this.cancelTimer = undefined
      void this.startCheckpoint()
    })
  }

  /** Starts one unless one runs. The promise never rejects; it resolves when the running checkpoint is done or given up. */
  private startCheckpoint(): Promise<void> {
    this.running ??= this.runCheckpoint()
    return this.running
  }

  private async runCheckpoint(): Promise<void> {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    // After a failure the older generation is still there: it has to go first.
    if (!this.store.frozen) {
      this.store.freeze(this.appliedIndex)
      this.frozenIndex = this.appliedIndex
    }
    let isDone = await this.tryFlush()
    while (!isDone && !this.isFinal && !this.stopped) {
      await this.pause()
      // Whoever stopped it waits for nothing but a flush that is under way.
      if (!this.stopped) isDone = await this.tryFlush()
    }
    this.running = undefined
    this.scheduleCheckpoint()
  }

  private async tryFlush(): Promise<boolean> {
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
    // The same condition is reported once, however often it is tried again. What is final stays.
    const isChange = this.fault?.name !== fault?.name
    this.fault = fault
    if (isChange) this.init.onFault?.(fault)
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.clock.schedule(this.retryMs, () => this.endRetryPause?.())
      this.endRetryPause = () => {
        this.endRetryPause = undefined
        cancel()
        resolve()
      }
    })
  }

  // -- end

  private refuseWhenStopped(): void {
    if (this.stopped) throw new ClosedError('page store')
    if (this.isFinal) throw this.fault as Error
  }

  private async shutDown(): Promise<void> {
    await this.running
    // A generation that is still frozen goes first, so it may take two; one that gets nowhere has no space.
    for (let before = -1; !this.isFinal && before < this.durableIndex && this.durableIndex < this.appliedIndex;) {
      before = this.durableIndex
      await this.startCheckpoint()
    }
    await this.store.close()
  }
}
