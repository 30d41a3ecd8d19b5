import type { Clock, NoSpaceError, RaftConfiguration } from '@quire/protocol'
import type { Entry, HardState, LogReader } from '../core/types.js'
import type { Disk } from './disk.js'

export interface LogWrite {
  readonly hardState?: HardState | undefined
  /** Replace everything from the first one's index on; that index is at most one after the last appended. */
  readonly entries: readonly Entry[]
}

/** A durable log. What `LogReader` shows is what is durable. */
export interface RaftLog extends LogReader {
  readonly hardState: HardState
  /** Every `config` entry, in order. */
  readonly configurations: readonly Entry[]
  /**
   * Resolves when durable, in the order of the calls; calls that come while a write is under way share the next. Takes the
   * buffers. After a failed write nothing is accepted any more: everything rejects with LogFailedError.
   */
  append(write: LogWrite): Promise<void>
  /** Waits for what was appended, then closes the files. */
  close(): Promise<void>
}

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
   * First configuration of a log that does not exist yet; the same on every voter. It becomes entry 1, committed. Ignored when
   * the log exists; without it a log that does not exist is a LogNotInitializedError.
   */
  readonly bootstrap?: RaftConfiguration
  /** With it, a file that found no space is tried again once a second until there is room. */
  readonly clock?: Pick<Clock, 'schedule'>
  /**
   * Called when the condition changes: with a NoSpaceError when the file after the one that is being written cannot be made, and up
   * to half a segment is left; with undefined when it could be made after all. Who then still fills the segment loses the log.
   */
  readonly onSpace?: (fault: NoSpaceError | undefined) => void
}
