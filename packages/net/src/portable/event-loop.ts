/**
 * What this folder needs of its runtime's event loop beyond what Node and browsers share. Node's is in `../node/event-loop.ts`.
 */
export interface EventLoop {
  /** Runs `task` after every promise continuation that is ready now, and before the event loop goes on to timers or IO. */
  atEndOfTurn(task: () => void): void
  /** Runs `task` after `delayMs`. The timer does not keep the process alive. The returned function cancels it. */
  scheduleInBackground(delayMs: number, task: () => void): () => void
}
