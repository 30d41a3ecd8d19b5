/** The interface between the API and whatever provides pages: a session with the cluster, or a program's own hooks. */
import type { AddressSpacePages, PageTable } from './core/index.js'
import type { Recorder } from './history.js'
import type { Start } from './waiting.js'

/** Provides the pages of open files. */
export interface PageHost {
  readonly table: PageTable
  /** The error of every further use, once the host has ended. */
  readonly ended: Error | undefined
  /** Aborts when the host ends. */
  readonly lost: AbortSignal
  readonly recorder: Recorder
  /** The time of the host's clock, in milliseconds. */
  now(): number
  /** Whether the program may use at this moment what the page table allows. */
  isLeaseValid(): boolean
  /** Resolves when the lease is valid. */
  whenActive(signal?: AbortSignal): Promise<void>
  /** Waits within the host's timeout. `onBusy` makes the error if another client or a pin was in the way. */
  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T>
  /** See `Coherence.flush`. */
  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number
  /** See `Coherence.startWriting`. */
  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number
}

/** An open file. */
export interface OpenFile {
  readonly host: PageHost
  readonly space: AddressSpacePages
  readonly id: number
  /** The name of the file in errors. */
  path: string
  /** The file has never had a path. */
  isUnnamed?: boolean
  /** A `link` is under way: the file may have a path that this client does not know yet. */
  isNaming?: boolean
  readonly pageSize: number
  /** The number of this client's handles. */
  handles: number
  /**
   * The number of handles that are being closed. Once all are, the client refuses writes, because the flush would miss
   * them.
   */
  closing: number
  /** This program decides the size. A PastEndError from a fault comes from a hook, and says nothing of the size. */
  readonly ownsSize?: boolean
  /** Asks for the size, and raises the bound in `space`. */
  refreshSize(signal?: AbortSignal): Promise<number>
}
