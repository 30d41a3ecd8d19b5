/** The lines between a run and the process of a client: JSON, one message each. */

export interface ClientAsk {
  readonly peers: readonly string[]
  /** Of all files of the run, in the cluster. */
  readonly folder: string
  /** No other client of the run has it, also no earlier one in its place. */
  readonly index: number
  /** The first client is 1, and so is the one that takes its place. */
  readonly seat: number
  readonly seed: number
  readonly sessionTtlMs: number
  readonly faultTimeoutMs: number
  /** The file of the history. */
  readonly history: string
  /** The file of the newest change that was begun. */
  readonly begun: string
  /** The file of the notes that programs make. */
  readonly notes: string
}

/** `stop` ends the programs, and `end` asks for what is left behind all of them. */
export type Order = { readonly type: 'stop' } | { readonly type: 'end' }

/** Calls that were carried out. */
export interface Done {
  /** For each of them, the milliseconds that its step took. */
  readonly latencies: readonly number[]
  /** When the last one ended, in nanoseconds of the machine's monotonic clock; undefined without one. */
  readonly endNs?: number
}

export type Report =
  /** What each workload has done since the last report. */
  | { readonly type: 'progress'; readonly done: Readonly<Record<string, Done>> }
  /** The history has the operations on this file, which was created with this size. */
  | { readonly type: 'recorded'; readonly file: string; readonly size: number }
  /** A call was rejected. */
  | { readonly type: 'rejected'; readonly error: string }
  /** A guarantee is broken. */
  | { readonly type: 'wrong'; readonly workload: string; readonly message: string }
  | { readonly type: 'stopped' }
  | { readonly type: 'ended'; readonly ends: Readonly<Record<string, unknown>> }
