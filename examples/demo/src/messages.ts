/**
 * The messages between the demo and its client processes, over Node's IPC channel. A client runs one task at a time.
 */
import type { ClientStats } from '@quire/dsm-client'

/** The arguments and the answer of each task. */
export interface Tasks {
  /** Connects to the cluster. */
  connect: { ask: { readonly peers: readonly string[]; readonly index: number }; answer: undefined }
  /** Reads a file through a mapping and answers with its SHA-256. */
  digest: { ask: { readonly path: string }; answer: string }
  /** Increments a shared word in turn with the other client, and words on this client's own pages. */
  count: { ask: { readonly path: string; readonly rounds: number }; answer: undefined }
  /** Reads the counters file: the shared word, and the sum over each client's pages. */
  sums: { ask: { readonly path: string }; answer: { readonly shared: number; readonly own: readonly number[] } }
  stats: { ask: undefined; answer: ClientStats }
  close: { ask: undefined; answer: undefined }
}

export type TaskName = keyof Tasks
export type Ask<N extends TaskName> = Tasks[N]['ask']
export type Answer<N extends TaskName> = Tasks[N]['answer']

/** To a client process. */
export type Request = { [N in TaskName]: { readonly task: N; readonly ask: Ask<N> } }[TaskName]

/** From a client process. */
export type Report =
  | { readonly type: 'answer'; readonly answer: unknown }
  | { readonly type: 'error'; readonly message: string }
  | { readonly type: 'progress'; readonly done: number }
  | { readonly type: 'leader'; readonly leader: string; readonly term: number }
  | { readonly type: 'session-lost'; readonly message: string }
