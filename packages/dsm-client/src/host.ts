/** Who keeps the pages of a file: a session with the cluster, or a program's own address space. */
import type { AddressSpacePages, PageTable } from './core/index.js'
import type { Recorder } from './history.js'
import type { Start } from './waiting.js'

export interface PageHost {
  readonly table: PageTable
  /** Why nothing can be done any more. */
  readonly ended: Error | undefined
  /** Aborted when it is so. */
  readonly lost: AbortSignal
  readonly recorder: Recorder
  /** Milliseconds of the host's clock. */
  now(): number
  /** What the page table allows may be used at this moment. */
  isLeaseValid(): boolean
  /** Resolves when that is so (again). */
  whenActive(signal?: AbortSignal): Promise<void>
  /** Waits with the host's time-out. `onBusy` makes the error where somebody else was in the way. */
  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T>
  /** Carries out what was decided. Call it after every call of the page table. */
  drain(): void
  /** See `Coherence.flush` and `Coherence.startWriting`. */
  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number
  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number
}

/** One open file: its pages, and who keeps them. */
export interface OpenFile {
  readonly host: PageHost
  readonly space: AddressSpacePages
  readonly id: number
  /** What errors call it. */
  path: string
  /** It has never had a path. */
  isUnnamed?: boolean
  /** The cluster was asked to name it: it may have a path that is not known here yet. */
  isNaming?: boolean
  readonly pageSize: number
  /** Handles of this client. */
  handles: number
  /** Those of them that are being closed. When all are, nothing may be written that their flush could miss. */
  closing: number
  /** The size is decided here: a PastEndError from a fault is a hook's, and says nothing of it. */
  readonly ownsSize?: boolean
  /** Learns the size anew, and raises the bound. */
  refreshSize(signal?: AbortSignal): Promise<number>
}
