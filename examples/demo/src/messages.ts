/** What the demo and its client processes say to each other, over Node's IPC channel. One task at a time. */
import type { ClientStats } from '@quire/dsm-client'

/** Each task with what it is asked with and what it answers. */
export interface Tasks {
  /** Connect to the cluster. */
  connect: { ask: { readonly peers: readonly string[]; readonly index: number }; answer: undefined }
  /** SHA-256 of a file, every byte of it read through a mapping. */
  digest: { ask: { readonly path: string }; answer: string }
  /** Count in turn with the other client on a shared word, and beside that on pages of one's own. */
  count: { ask: { readonly path: string; readonly rounds: number }; answer: undefined }
  /** The words of the counters file: the shared one, and the sum over each client's pages. */
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
