import type { TestFunctions } from '@quire/raft/log-compliance'
import { toString } from 'uint8arrays/to-string'
import { BACKEND_TABLES, type Backend, type BackendChange, type BackendTable } from '../pages/backend.js'

/** Connects the suite to one kind of backend. `S` is one storage: a file, a folder, a fake disk. */
export interface BackendAdapter<S> {
  readonly name: string
  /** Returns an empty storage. */
  createStorage(): S | Promise<S>
  /** Opens a backend over the storage. A storage has one open backend at a time. */
  open(storage: S): Backend | Promise<Backend>
  /** As `BackendStorage.openIncoming`. */
  openIncoming?(storage: S): Backend | Promise<Backend>
  /** As `BackendStorage.adoptIncoming`. */
  adoptIncoming?(storage: S): Promise<void>
  /** Called after each test. The backend is closed, or dead after a crash or a failed test. */
  removeStorage?(storage: S): void | Promise<void>
  /**
   * The process dies or the power fails now, even during a commit. The adapter keeps, drops or tears what the backend
   * has not flushed yet, as `random` decides. The open backend is dead; the next call is `open`.
   */
  crash?(storage: S, random: () => number): void | Promise<void>
  /** The disk has no room left, or has room again. */
  setFull?(storage: S, isFull: boolean): void | Promise<void>
  /** Every write fails from now on, for a reason other than lack of room. */
  failWrites?(storage: S): void | Promise<void>
  /** Flips one bit in each stored copy of `value`. The backend is closed. */
  damage?(storage: S, value: Uint8Array): void | Promise<void>
  /** Puts something in the place of the storage that the backend did not write. The backend is closed. */
  replace?(storage: S): void | Promise<void>
}

export interface Rig<S> {
  readonly functions: TestFunctions
  readonly adapter: BackendAdapter<S>
}

type Hook = 'openIncoming' | 'adoptIncoming' | 'crash' | 'setFull' | 'failWrites' | 'damage' | 'replace'

/** Gives one test its storage. */
export class Bench<S> {
  private opened: Backend | undefined

  constructor(
    readonly adapter: BackendAdapter<S>,
    readonly storage: S
  ) {}

  /** Opens the backend; closes the one before. */
  async open(): Promise<Backend> {
    await this.close()
    this.opened = await this.adapter.open(this.storage)
    return this.opened
  }

  async close(): Promise<void> {
    await this.opened?.close()
    this.opened = undefined
  }

  /** The caller closes the backend. */
  async openIncoming(): Promise<Backend> {
    return this.adapter.openIncoming!(this.storage)
  }

  /** Adopts the incoming rows. Both backends are closed. */
  adopt(): Promise<void> {
    return this.adapter.adoptIncoming!(this.storage)
  }

  /** Crashes and opens the backend again. */
  async crash(random: () => number): Promise<Backend> {
    this.opened = undefined
    await this.adapter.crash!(this.storage, random)
    return this.open()
  }
}

/** Declares a test with a storage of its own, which is skipped when the adapter lacks a hook that the test needs. */
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
      const bench = new Bench(adapter, storage)
      await run(bench)
      await bench.close()
    } finally {
      await adapter.removeStorage?.(storage)
    }
  })
}

// -- rows

/** One row to write into `table`, with keys and values of a few bytes; without a value, the row to remove. */
export function change(table: BackendTable, key: readonly number[], value?: readonly number[]): BackendChange {
  return { table, key: Uint8Array.from(key), value: value === undefined ? undefined : Uint8Array.from(value) }
}

/** Bytes that differ from value to value and from place to place. */
export function filled(value: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => value + at * 7 + (at >> 8))
}

/** Contents of a backend: `table/key` to value, both in hexadecimal digits. */
export type Contents = ReadonlyMap<string, string>

export function contentsOf(backend: Backend): Contents {
  const contents = new Map<string, string>()
  for (const table of BACKEND_TABLES) {
    for (const [key, value] of backend.entries(table, new Uint8Array(0))) contents.set(nameOf(table, key), hex(value))
  }
  return contents
}

/** The contents that a commit of `changes` makes out of `contents`. */
export function contentsAfter(contents: Contents, changes: Iterable<BackendChange>): Contents {
  const after = new Map(contents)
  for (const { table, key, value } of changes) {
    if (value === undefined) after.delete(nameOf(table, key))
    else after.set(nameOf(table, key), hex(value))
  }
  return after
}

export function isSame(a: Contents, b: Contents): boolean {
  return a.size === b.size && [...a].every(([name, value]) => b.get(name) === value)
}

export function nameOf(table: BackendTable, key: Uint8Array): string {
  return `${table}/${hex(key)}`
}

/** undefined where there is no row. */
export function hex(bytes: Uint8Array): string
export function hex(bytes: Uint8Array | undefined): string | undefined
export function hex(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : toString(bytes, 'base16')
}

// -- time and chance

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2

/** Returns numbers in [0, 1), the same in every run, evenly spread: multiples of the golden ratio. */
export function spread(): () => number {
  let last = 0
  return () => {
    last = (last + GOLDEN_RATIO) % 1
    return last
  }
}
