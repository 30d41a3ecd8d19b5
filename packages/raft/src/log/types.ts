import type { Clock, RaftConfiguration, Shortage } from '@quire/protocol'
import type { Entry, HardState, LogReader, SnapshotMeta } from '../core/types.js'
import type { Disk } from './disk.js'

export interface LogWrite {
  readonly hardState?: HardState | undefined
  /** The log starts anew after this snapshot, before `entries` are appended: all that was in it is dropped. */
  readonly reset?: SnapshotMeta | undefined
  /** Replace everything from the first one's index on; that index is at most one after the last appended. */
  readonly entries: readonly Entry[]
}

/** A durable log. What `LogReader` shows is what is durable. */
export interface RaftLog extends LogReader {
  readonly hardState: HardState
  /** The `config` entries, in order: the one in force at `firstIndex - 1`, if any, and all after it. */
  readonly configurations: readonly Entry[]
  /**
   * Resolves when durable, in the order of the calls; calls that come while a write is under way share the next. Takes the
   * buffers. After a failed write nothing is accepted any more: everything rejects with LogFailedError.
   */
  append(write: LogWrite): Promise<void>
  /**
   * Entries up to `index` are not needed any more; the log drops what it can of them. `index` is committed, durable here, and in a
   * durable snapshot of the state machine. Resolves when done. A file that cannot be removed is tried again with the next call.
   */
  compact(index: number): Promise<void>
  /** Waits for what was appended, then closes the files. */
  close(): Promise<void>
}

/** The members of a cluster's first configuration. */
export type FirstConfiguration = Pick<RaftConfiguration, 'voters' | 'learners' | 'context'>

/**
 * What to make of a directory without a log: found a cluster, the same on every voter (it becomes entry 1 of term 1,
 * committed), or join one with an empty log, under an id that no node has used before (docs/raft.md, Membership).
 * Ignored when there is a log.
 */
export type LogCreation = { readonly bootstrap: FirstConfiguration } | { readonly join: true }

export interface SegmentedLogInit {
  /** The directory of this log alone. */
  readonly disk: Disk
  /** Bytes of a segment file; default 16 MiB. A larger batch gets a larger segment. */
  readonly segmentBytes?: number
  /** Entry bytes at the log's end that are kept in memory; default 16 MiB. Older ones are read from disk. */
  readonly cacheBytes?: number
  /** Whose log this is, such as cluster and node id: files of another are refused. Default ''. */
  readonly identity?: string
  /**
   * Without it a log that does not exist is a LogNotInitializedError: a voter that has lost its log may have acknowledged what it
   * does not know any more, and must not vote.
   */
  readonly create?: LogCreation | undefined
  /**
   * With it, a file that found no space or no descriptor is tried again once a second, and appends wait for a descriptor. Without it
   * they fail.
   */
  readonly clock?: Pick<Clock, 'schedule'>
  /**
   * Called when the condition changes: with the lack when the file after the one that is being written cannot be made, and up
   * to half a segment is left; with undefined when it could be made after all. Filling the segment without space for the next one
   * loses the log; without a descriptor, appends wait.
   */
  readonly onSpace?: (fault: Shortage | undefined) => void
}
