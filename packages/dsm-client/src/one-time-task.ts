import { throwIfAborted, untilAborted } from './waiting.js'

/**
 * What is done once, such as a close. Who asks for it while it is under way waits for the same, and may give up waiting
 * alone: it goes on. When it failed it can be asked for again.
 */
export class OneTimeTask {
  private attempt: Promise<void> | undefined

  /** It is under way, or done. */
  get hasBegun(): boolean {
    return this.attempt !== undefined
  }

  /** `action` is not called again when it has begun. */
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
    // Everybody may have given up.
    attempt.catch(() => {})
    return attempt
  }

  /** It need not be done any more. */
  skip(): void {
    this.attempt ??= Promise.resolve()
  }
}
