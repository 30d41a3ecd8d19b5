/** The ordered key-value store under a page store. A peer uses the one on LMDB; the simulator uses one in memory. */

/** `records`: the state machine's tables. `heads` and `bodies`: the two parts of each page (see layout.ts). */
export type BackendTable = 'records' | 'heads' | 'bodies'
export const BACKEND_TABLES: readonly BackendTable[] = ['records', 'heads', 'bodies']

/** One row to write, or to remove where `value` is undefined. The backend copies what it keeps of both arrays. */
export interface BackendChange {
  readonly table: BackendTable
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** The compliance suite in src/backend-compliance tests each promise of this interface. */
export interface Backend {
  /** The file or other place of the rows, for error messages. */
  readonly name: string
  /** What an operator does about damaged rows, for error messages. */
  readonly remedy?: string
  /**
   * Returns the value of the last commit, or undefined where there is no row. The value is a view that is valid until
   * the next call. While a commit runs, `get` may already return the value of that commit.
   */
  get(table: BackendTable, key: Uint8Array): Uint8Array | undefined
  /**
   * Iterates over the rows whose key starts with `prefix`, in the order of their keys' bytes. Each key and value is a
   * view that is valid until the next row.
   */
  entries(table: BackendTable, prefix: Uint8Array): Iterable<readonly [key: Uint8Array, value: Uint8Array]>
  /**
   * Returns copies of the first `limit` keys in the range from `first` up to but without `end`, in the order of their
   * bytes. While a commit runs, the range includes the keys that the commit has not removed yet.
   */
  keys(table: BackendTable, first: Uint8Array, end: Uint8Array, limit: number): Uint8Array[]
  /**
   * Writes all of `changes` or none, and resolves when they are durable. The backend may iterate over `changes` in
   * several turns of the event loop. `bytes` estimates the length of all values. The caller starts a commit only after
   * the one before has settled.
   *
   * Rejects with NoSpaceError if the disk or the map is full, or has too little room for `bytes`; the caller may then
   * repeat the commit. Rejects with the error of the iteration if that throws.
   */
  commit(changes: Iterable<BackendChange>, bytes?: number): Promise<void>
  /**
   * Closes the backend. The caller waits for the last commit to settle first, and commits no more. From this call on,
   * each read throws ClosedError. An iteration over `entries` that is under way throws it instead of the next row.
   */
  close(): Promise<void>
}
