/**
 * The ordered key-value store under a page store. The real one is LMDB; the simulator's lives in memory.
 */

/** `records`: the state machine's tables; `heads` and `bodies`: the two parts of each page (see layout.ts). */
export type BackendTable = 'records' | 'heads' | 'bodies'
export const BACKEND_TABLES: readonly BackendTable[] = ['records', 'heads', 'bodies']

/** One row to write; without a value it is removed. The backend keeps neither array. */
export interface BackendChange {
  readonly table: BackendTable
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

export interface Backend {
  /** Where it is, for error messages. */
  readonly name: string
  /** What to do where its rows are damaged, for error messages. */
  readonly remedy?: string
  /** The last committed value: a view that is valid until the next call. While a commit runs, maybe already that one's. */
  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined
  /** Rows whose key starts with `prefix`, in order of bytes. Views that are valid until the next row. */
  entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [key: Uint8Array, value: Uint8Array]>
  /**
   * At most `limit` keys, in order of bytes, from `first` up to but without `end`. Copies. While a commit runs, those that it has not
   * removed yet.
   */
  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[]
  /**
   * Writes all of `changes` or none, and resolves when they are durable. One commit at a time. `changes` may be
   * walked over many turns of the event loop; they are about `bytes` long. Rejects with NoSpaceError when the disk or
   * the map is full, or has too little room for that; the commit may then be repeated.
   */
  commit(changes: Iterable<BackendChange>, bytes?: number): Promise<void>
  /** After the last commit has settled. */
  close(): Promise<void>
}
