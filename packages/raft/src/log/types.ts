import type { Clock, RaftConfiguration, Shortage } from '@quire/protocol'
import type { Entry, HardState, LogReader, SnapshotMeta } from '../core/types.js'
import type { Disk } from './disk.js'

/** One append to the log. */
export interface LogWrite {
  readonly hardState?: HardState | undefined
  /** Before `entries` are appended, the log starts anew after this snapshot; its earlier content is dropped. */
  readonly reset?: SnapshotMeta | undefined
  /**
   * They replace everything from the first one's index on. That index is at most one above the last appended entry, and
   * above the durable commit index.
   */
  readonly entries: readonly Entry[]
}

/** A durable log. Its `LogReader` part shows durable entries only. */
export interface RaftLog extends LogReader {
  readonly hardState: HardState
  /** The `config` entries in order: the one in force at `firstIndex - 1`, if there is one, and every later one. */
  readonly configurations: readonly Entry[]
  /** Size of the entries from `firstIndex` on, as the log stores them. */
  readonly bytes: number
  /**
   * The last index after which entries take `bytes` at least; in old segments, up to 256 KiB before it. If all entries
   * take less, the index before the first one.
   */
  indexBefore(bytes: number): number
  /**
   * Resolves when the write is durable, in the order of the calls. Calls that come while a write is under way share the
   * next one. The log owns the buffers from then on.
   *
   * Rejects with LogFullError if the entries fit no file and no other can be made, for lack of space or of a
   * descriptor. The log stays sound, and goes on when there is room. After a failed write every call rejects with
   * LogFailedError.
   */
  append(write: LogWrite): Promise<void>
  /**
   * Drops entries up to `index` as far as the log can, but keeps the newest entries that take `retainedBytes` (default
   * 0). `index` must be committed, durable here, and covered by a durable snapshot of the state machine. Resolves when
   * done. If a file cannot be removed, the next call tries again.
   */
  compact(index: number, retainedBytes?: number): Promise<void>
  /** Waits for pending appends, then closes the files. */
  close(): Promise<void>
}

/** The members of a cluster's first configuration. */
export type FirstConfiguration = Pick<RaftConfiguration, 'voters' | 'learners' | 'context'>

/**
 * The content of a new log. `bootstrap` founds a cluster: the configuration is the same on every voter, and becomes
 * entry 1 of term 1, committed. `join` starts with an empty log, under an id that no node has used before
 * (docs/raft.md, Membership). Ignored if a log exists.
 */
export type LogCreation = { readonly bootstrap: FirstConfiguration } | { readonly join: true }

export interface SegmentedLogInit {
  /** A directory for this log alone. */
  readonly disk: Disk
  /** Size of a segment file; default 16 MiB. A larger batch gets a larger segment. */
  readonly segmentBytes?: number
  /**
   * Entry bytes at the log's end that stay in memory; default 16 MiB. Older entries are read from disk. A start reads
   * only the last segment into memory.
   */
  readonly cacheBytes?: number
  /** Identifies the log's owner, for example by cluster and node id. Files of another owner are refused. Default ''. */
  readonly identity?: string
  /**
   * Without it, a missing log is a LogNotInitializedError: a voter that has lost its log no longer knows what it has
   * acknowledged, and must not vote.
   */
  readonly create?: LogCreation | undefined
  /**
   * With a clock, the log retries once a second to make a file that found no space or no descriptor, and the flush of
   * the directory waits for a descriptor. Without one, a full log stays full, and that flush fails.
   */
  readonly clock?: Pick<Clock, 'schedule'>
  /**
   * Called when the condition changes. A NoSpaceError or NoDescriptorsError says that the file after the current one
   * cannot be made; up to half of the current segment is left then. Undefined says that it could be made after all.
   * Once the current segment is full as well, `append` gives entries back (LogFullError).
   */
  readonly onSpace?: (fault: Shortage | undefined) => void
}
