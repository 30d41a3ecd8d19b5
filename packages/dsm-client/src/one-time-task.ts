import { throwIfAborted, untilAborted } from './waiting.js'

/**
 * Runs a task, such as a close, at most once.
 *
 * A call during the task waits for the same outcome. Aborting one call does not abort the task or another call. After a
 * failure, the next call runs the task again.
 */
export class OneTimeTask {
  private attempt: Promise<void> | undefined

  /** The task is under way or done. */
  get hasBegun(): boolean {
    return this.attempt !== undefined
  }

  /** Calls `action` unless the task has begun, and waits for its outcome. */
  async run(action: () => Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal)
    this.attempt ??= this.begin(action)
    await untilAborted(this.attempt, signal)
  }

  private begin(action: () => Promise<void>): Promise<void> {
    const attempt = action().catch((error: unknown) => {
      this.attempt = undefined
      throw error
    })
    // All callers may have left.
    attempt.catch(() => {})
    return attempt
  }

  /** Counts the task as done without running it. */
  skip(): void {
    this.attempt ??= Promise.resolve()
  }
}
