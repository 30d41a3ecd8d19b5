/** The services of an event loop that Node and browsers offer in different ways. `../node/event-loop.ts` is Node's. */
export interface EventLoop {
  /** Runs `task` after every promise continuation that is ready now, and before timers and IO. */
  atEndOfTurn(task: () => void): void
  /**
   * Runs `task` after `delayMs` unless the returned function is called first. The timer does not keep the process
   * alive.
   */
  scheduleInBackground(delayMs: number, task: () => void): () => void
}
