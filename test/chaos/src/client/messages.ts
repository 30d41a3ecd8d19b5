/** The lines between a run and the process of a client: JSON, one message each. */

export interface ClientAsk {
  readonly peers: readonly string[]
  readonly index: number
  readonly clients: number
  readonly seed: number
  readonly workloads: readonly string[]
  readonly sessionTtlMs: number
  readonly faultTimeoutMs: number
  /** The file of the history. */
  readonly history: string
}

/** `stop` ends the programs, and `end` asks for what is left behind all of them. */
export type Order = { readonly type: 'stop' } | { readonly type: 'end' }

export interface WorkloadCounts {
  /** The milliseconds that each operation since the last report took. */
  readonly latencies: readonly number[]
}

export type Report =
  | { readonly type: 'progress'; readonly workloads: Readonly<Record<string, WorkloadCounts>> }
  /** The history has the operations on this file, which was created with this size. */
  | { readonly type: 'recorded'; readonly file: string; readonly size: number }
  /** A call was rejected. */
  | { readonly type: 'rejected'; readonly workload: string; readonly error: string; readonly message: string }
  /** A guarantee is broken. */
  | { readonly type: 'wrong'; readonly workload: string; readonly message: string }
  | { readonly type: 'stopped'; readonly facts: Readonly<Record<string, unknown>> }
  | { readonly type: 'ended'; readonly ends: Readonly<Record<string, unknown>> }
