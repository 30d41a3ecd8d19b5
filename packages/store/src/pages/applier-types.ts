/** The interface of the applier. */
import type { Clock, RaftSnapshot } from '@quire/protocol'
import type { Applied, EntryKind, StateView, StoredPage } from '../state/index.js'
import type { Backend, BackendUsage } from './backend.js'
import type { DamagedPage } from './page-rows.js'
import type { PageStore, RowsView } from './page-store.js'
import type { Divergence } from './record-rows.js'
import type { SnapshotReader } from './snapshot-pieces.js'

export interface CommittedEntry {
  readonly index: number
  readonly term: number
  readonly kind: EntryKind
  /** An encoded command, or the application context of a 'config' entry. The caller may reuse the buffer. */
  readonly data: Uint8Array
}

/** `applied` is undefined for an entry without a command, such as the no-op of a new leader. */
export type AppliedListener = (index: number, applied: Applied | undefined, term: number) => void

export interface ApplierInit {
  /** The applier owns the store from here on. */
  readonly store: PageStore
  readonly clock: Clock
  /** The limit of released pages on record; see `Owners`. All peers must have the same. */
  readonly maxReleased?: number | undefined
  /** A checkpoint starts after this many entries, which limits the replay of a restart. Default 10,000. */
  readonly checkpointEntries?: number
  /** A checkpoint starts this long after the first change. Default 5,000. */
  readonly checkpointIntervalMs?: number
  /** The applier repeats a checkpoint that found no space after this pause. Default 1,000. */
  readonly retryMs?: number
  /** The applier calls this after each entry, in order, before it applies the next one. */
  readonly onApplied?: AppliedListener
  /** The page store has durably become the state after the entry at `index`. */
  readonly onCheckpoint?: (index: number) => void
  /**
   * Called for each `compare` entry, once. With `isStored`, the page store has durably become the state after that very
   * entry, and no other commit has begun: `openView` shows that state now. Without, checkpoints found no space, so this
   * peer skips the comparison.
   */
  readonly onCompare?: (index: number, isStored: boolean) => void
  /**
   * The applier calls this when its condition changes. With a NoSpaceError, checkpoints find no space: reads continue,
   * but the peer should accept no writes. With undefined, checkpoints find space again. Any other error is final: the
   * applier applies nothing more, and the peer has to stop.
   */
  readonly onFault?: (fault: Error | undefined) => void
}

export interface Applier {
  readonly state: StateView & { digest(): string }
  readonly appliedIndex: number
  /** The page store has the changes up to this entry on disk, so the log replays from the next one. */
  readonly durableIndex: number
  /** The snapshot that was installed here, until `forgetInstalled`; undefined if there is none. */
  readonly installed: RaftSnapshot | undefined
  readonly fault: Error | undefined
  /** `replace` is under way: no page can be read. */
  readonly isReplacing: boolean
  /**
   * Applies the entries in order, and skips those up to `appliedIndex`. Returns a promise if some entries have to wait
   * for a checkpoint; later calls queue behind it.
   *
   * Throws or rejects with the error of the state machine, after which the peer has to stop, and with ClosedError after
   * `stop` or `close`.
   */
  apply(entries: readonly CommittedEntry[]): void | Promise<void>
  /**
   * Removes the record `installed`, and resolves when that is durable. Call it before the first `apply`, once the log
   * has the snapshot's last entry or starts after it. Rejects with the error of the store, such as NoSpaceError.
   */
  forgetInstalled(): Promise<void>
  /** Resolves when everything applied so far is on disk. On a full disk, waits until there is room. */
  checkpoint(): Promise<void>
  /** Returns a reader of the state at `durableIndex`; see `PageStore.openSnapshot`. */
  openSnapshot(): SnapshotReader
  /** See `PageStore.openView`. */
  openView(): RowsView
  /** The next checkpoint writes all records anew from memory, because some on the disk are damaged. */
  rewriteRecords(): void
  /** The mark that other peers have another state; undefined if there is none. The caller then refuses to start. */
  readonly diverged: Divergence | undefined
  /**
   * Sets the mark, and resolves when it is durable. Nothing is applied or stored any more, for which `reason` is the
   * error. Rejects with the error of the store, such as NoSpaceError.
   */
  markDiverged(divergence: Divergence, reason: Error): Promise<void>
  /**
   * Makes the rows of another backend the state; see `PageStore.replace`. Requires that no `apply` or `checkpoint` is
   * under way. Rejects with ClosedError after `stop`, and with the error of `adopt` or of the rows, which is final.
   */
  replace(adopt: () => Promise<Backend>): Promise<void>
  /** See `PageStore.damage`. */
  damage(file: number, page: number): DamagedPage | undefined
  /** See `PageStore.repair`. The next checkpoint makes the repair durable. */
  repair(file: number, page: number, copy: StoredPage | undefined): void
  /** The active memtable is full, so further repairs should wait for a checkpoint. */
  readonly isFull: boolean
  /** Undefined during `replace`. */
  usage(): BackendUsage | undefined
  /**
   * Stops applying. Calls of `apply` that wait for a checkpoint reject with ClosedError when the current flush ends. On
   * a full disk they would otherwise wait forever.
   */
  stop(): void
  /**
   * Stops, makes a last checkpoint and closes the store. Resolves even if that checkpoint fails (`fault` has the
   * error), because the log has the same entries.
   */
  close(): Promise<void>
}
