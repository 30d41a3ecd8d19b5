import assert from 'node:assert/strict'
import type { Entry } from '../core/types.js'
import type { LogCreation, LogWrite, RaftLog } from '../log/types.js'

type Declare = (name: string, test: () => Promise<void>) => void

/** Of the test runner. `it.skip` reports a test that was not run. */
export interface TestFunctions {
  describe(name: string, define: () => void): void
  readonly it: Declare & { readonly skip: Declare }
}

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

export interface Rig<S> {
  readonly functions: TestFunctions
  readonly adapter: LogAdapter<S>
}

type Hook = 'powerLoss' | 'failNextWrite' | 'setFull' | 'flipBit' | 'bytesRead' | 'openFiles' | 'setDescriptors'

/** What a test works with: one storage, and the log that is open on it. */
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

  async reopen(): Promise<RaftLog> {
    await this.log.close()
    return this.open()
  }

  async append(...writes: LogWrite[]): Promise<void> {
    await Promise.all(writes.map((write) => this.log.append(write)))
  }
}

/** Declares a test with a storage of its own, which is reported as skipped when the adapter lacks what the test needs. */
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

/** Bytes of an entry's data, unless a test says otherwise. */
const DATA_BYTES = 100

/** The data tells entries apart, and no sector of it has few bits that are set. */
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

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
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
