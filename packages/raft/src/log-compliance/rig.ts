import assert from 'node:assert/strict'
import type { Entry } from '../core/types.js'
import type { LogCreation, LogWrite, RaftLog } from '../log/types.js'

type Declare = (name: string, test: () => Promise<void>) => void

/** The functions of a test runner. `it.skip` reports a test that does not run. */
export interface TestFunctions {
  describe(name: string, define: () => void): void
  readonly it: Declare & { readonly skip: Declare }
}

/**
 * Connects the suite to a log. `S` is one storage, for example a directory or a simulated disk. Use small limits, such
 * as segments of 8 KiB and a cache of 1 KiB, so that a test of a hundred entries reaches them. A test that needs a
 * missing hook is skipped.
 */
export interface LogAdapter<S> {
  readonly name: string
  /** Makes an empty storage. */
  createStorage(): S | Promise<S>
  /** Opens the log, or makes it. A storage has at most one open log, but several storages may be open at once. */
  open(storage: S, create: LogCreation | undefined): Promise<RaftLog>
  /** Called after a test, when the log is closed or dead. */
  removeStorage?(storage: S): void | Promise<void>
  /**
   * Simulates a power loss at this moment, whatever is under way, `open` included. Unflushed data is kept, dropped,
   * torn or reordered, as `random` decides. The open log is dead, and the next call is `open`.
   */
  powerLoss?(storage: S, random: () => number): void | Promise<void>
  /** Makes the next write fail after any part of it was written. */
  failNextWrite?(storage: S): void
  /** Limits the storage to the space that is in use, or lifts that limit. */
  setFull?(storage: S, isFull: boolean): void | Promise<void>
  /** Flips one of the stored bits. The log is closed. */
  flipBit?(storage: S, random: () => number): void | Promise<void>
  /** Bytes that were read from this storage so far. */
  bytesRead?(storage: S): number
  /** Number of open files of this storage: now, and the most at any time. */
  openFiles?(storage: S): { readonly now: number; readonly most: number }
  /**
   * Makes every further `open` fail for lack of a file descriptor, or ends that. The log needs a clock whose seconds
   * pass with turns of the event loop.
   */
  setDescriptors?(storage: S, isShort: boolean): void
}

/** The adapter with the test runner. */
export interface Rig<S> {
  readonly functions: TestFunctions
  readonly adapter: LogAdapter<S>
}

type Hook = 'powerLoss' | 'failNextWrite' | 'setFull' | 'flipBit' | 'bytesRead' | 'openFiles' | 'setDescriptors'

/** Gives a test one storage with the log that is open on it. */
export class Bench<S> {
  log!: RaftLog

  constructor(
    readonly adapter: LogAdapter<S>,
    readonly storage: S
  ) {}

  async open(create?: LogCreation): Promise<RaftLog> {
    this.log = await this.adapter.open(this.storage, create)
    return this.log
  }

  /** Closes the log and opens it again, which changes nothing about its size. */
  async reopen(): Promise<RaftLog> {
    await this.log.close()
    const { bytes } = this.log
    await this.open()
    assert.equal(this.log.bytes, bytes, 'bytes of the log after it was opened again')
    return this.log
  }

  async append(...writes: LogWrite[]): Promise<void> {
    await Promise.all(writes.map((write) => this.log.append(write)))
  }
}

/** Declares a test with a storage of its own. If the adapter lacks a hook that the test needs, the test is skipped. */
export function test<S>(
  { functions, adapter }: Rig<S>,
  name: string,
  needs: readonly Hook[],
  run: (bench: Bench<S>) => Promise<void>
): void {
  const declare = needs.every((hook) => adapter[hook] !== undefined) ? functions.it : functions.it.skip
  declare(name, async () => {
    const storage = await adapter.createStorage()
    try {
      await run(new Bench(adapter, storage))
    } finally {
      await adapter.removeStorage?.(storage)
    }
  })
}

export const BOOTSTRAP: LogCreation = {
  bootstrap: { voters: ['a', 'b', 'c'], learners: ['d'], context: Uint8Array.of(1, 2, 3) }
}

/** Bytes of an entry's data by default. */
const DATA_BYTES = 100

/** An entry whose data differs from that of other entries, with many bits set in every sector. */
export function entry(index: number, term: number, kind: Entry['kind'] = 'normal', bytes = DATA_BYTES): Entry {
  const data = new Uint8Array(bytes)
  const first = index * 7 + term * 31
  for (let i = 0; i < bytes; i++) data[i] = 0x55 ^ (first + i)
  return { index, term, kind, data }
}

export function entries(first: number, last: number, term: number, bytes = DATA_BYTES): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, term, 'normal', bytes))
}

export function indexesOf(list: readonly Entry[]): number[] {
  return list.map(({ index }) => index)
}

export function isError(name: string): (error: unknown) => boolean {
  return (error) => {
    assert.equal((error as Error).name, name)
    return true
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/**
 * Returns numbers in [0, 1), the same for the same seed (mulberry32).
 *
 * The suite is published with this package, so it cannot import the random source of `@quire/testing`.
 */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
