/**
 * @packageDocumentation
 *
 * What a {@link RaftLog} promises, as tests: for whoever writes one. They run with any test runner that has `describe` and `it`,
 * against a fresh storage each, and take nothing from the machine but turns of the event loop, so that a failure repeats.
 *
 * @example
 * ```ts
 * import { describe, it } from 'node:test'
 * import { testRaftLog } from '@quire/raft/log-compliance'
 *
 * testRaftLog({ describe, it }, {
 *   name: 'my log',
 *   createStorage: () => new MyStorage(),
 *   open: (storage, create) => openMyLog(storage, create),
 *   powerLoss: (storage, random) => storage.forgetSomeUnflushedWrites(random)
 * })
 * ```
 */
import type { LogCreation, RaftLog } from '../log/types.js'
import { compactionTests } from './compaction.js'
import { crashTests } from './crashes.js'
import { descriptorTests } from './descriptors.js'
import { faultTests } from './faults.js'
import { readingTests } from './reading.js'
import type { Rig, TestFunctions } from './rig.js'
import { writingTests } from './writing.js'

export type { TestFunctions } from './rig.js'

/**
 * A log and where it lives. `S` is one storage: a directory, a fake disk. Limits should be small, such as segments of 8 KiB and a
 * cache of 1 KiB, so that a test of a hundred entries reaches them. Tests that need a hook which is not there are skipped.
 */
export interface LogAdapter<S> {
  readonly name: string
  /** An empty storage. */
  createStorage(): S | Promise<S>
  /** Opens the log, or makes it. A storage has one open log at a time; several storages may be open. */
  open(storage: S, create: LogCreation | undefined): Promise<RaftLog>
  /** After a test: the log is closed, or dead. */
  removeStorage?(storage: S): void | Promise<void>
  /**
   * Power is lost now, whatever is under way, also `open`. What was not flushed is kept, dropped, torn or reordered, as `random`
   * says. The log that was open is dead; the next call is `open`.
   */
  powerLoss?(storage: S, random: () => number): void | Promise<void>
  /** The next write fails, after any part of it was written. */
  failNextWrite?(storage: S): void
  /** There is no more space than is in use, or there is again. */
  setFull?(storage: S, isFull: boolean): void | Promise<void>
  /** Flips one of all bits that are stored. The log is closed. */
  flipBit?(storage: S, random: () => number): void | Promise<void>
  /** Bytes that were read from this storage up to now. */
  bytesRead?(storage: S): number
  /** Files of this storage that are open: now, and the most that were open at any time since it was made. */
  openFiles?(storage: S): { readonly now: number; readonly most: number }
  /**
   * There is no file descriptor left for anything more, or there is again. Give the log a clock whose seconds pass with turns of the event
   * loop.
   */
  setDescriptors?(storage: S, isShort: boolean): void
}

/** Declares the tests. */
export function testRaftLog<S>(functions: TestFunctions, adapter: LogAdapter<S>): void {
  const rig: Rig<S> = { functions, adapter }
  functions.describe(`${adapter.name} as a Raft log`, () => {
    functions.describe('writing', () => writingTests(rig))
    functions.describe('reading', () => readingTests(rig))
    functions.describe('reset and compaction', () => compactionTests(rig))
    functions.describe('faults', () => faultTests(rig))
    functions.describe('file descriptors', () => descriptorTests(rig))
    functions.describe('power loss', () => crashTests(rig))
  })
}
