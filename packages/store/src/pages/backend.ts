/** The ordered key-value store under a page store. A peer uses the one on LMDB; the simulator uses one in memory. */

/** `records`: the state machine's tables. `heads` and `bodies`: the two parts of each page (see page-rows.ts). */
export type BackendTable = 'records' | 'heads' | 'bodies'
export const BACKEND_TABLES: readonly BackendTable[] = ['records', 'heads', 'bodies']

/** One row to write, or to remove where `value` is undefined. The backend copies what it keeps of both arrays. */
export interface BackendChange {
  readonly table: BackendTable
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** The rows of one commit. Later commits do not change what it shows. */
export interface BackendView {
  /**
   * Iterates over the rows whose key is `first` or greater, in the order of their keys' bytes. Each key and value is a
   * view that is valid until the next row.
   */
  from(table: BackendTable, first: Uint8Array): Iterable<readonly [key: Uint8Array, value: Uint8Array]>
  /** Frees what the view holds. From this call on, each read throws ClosedError. A second call does nothing. */
  close(): void
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
  usage(): BackendUsage
  /**
   * Returns the rows of the last commit, or of the commit that runs. The caller closes the view, soon: the backend
   * reuses no space that a commit frees while an older view is open.
   */
  view(): BackendView
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
   * Closes the backend and its views. The caller waits for the last commit to settle first, and commits no more. From
   * this call on, each read throws ClosedError. An iteration that is under way throws it instead of the next row.
   */
  close(): Promise<void>
}

/** What a backend takes on the disk. */
export interface BackendUsage {
  readonly fileBytes: number
  /** The part of the file that the rows of the last commit take. The backend reuses the rest. */
  readonly usedBytes: number
}

/** Holds the rows of a page store. Rows that arrive from elsewhere can take their place as a whole. */
export interface BackendStorage {
  /** Opens the rows in use, and removes incoming rows that were not adopted. */
  open(): Backend
  /** Opens an empty backend for incoming rows, and removes earlier ones. The backend of the rows in use may be open. */
  openIncoming(): Backend
  /**
   * Makes the incoming rows those in use, and resolves when that is durable. Both backends are closed. After a crash,
   * either the former rows or all of the incoming ones are in use.
   */
  adoptIncoming(): Promise<void>
}
