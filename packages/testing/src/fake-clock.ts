import type { Clock } from '@quire/protocol'

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  private timers: Timer[] = []
  private order = 0

  constructor(private timeMs = 0) {}

  now(): number {
    return this.timeMs
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.timeMs
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.timeMs + delayMs, order: this.order++, callback }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((other) => other !== timer)
    }
  }

  /** Timers that have neither run nor been canceled. */
  get pending(): number {
    return this.timers.length
  }

  /** Moves time on by `ms`. Timers fire at their times, and all promises settle between two of them. */
  async advance(ms: number): Promise<void> {
    await this.until(() => false, ms)
  }

  /** Moves time on until `done()`. Resolves to false, `limitMs` later, if that does not happen. */
  async until(done: () => boolean, limitMs = 60_000): Promise<boolean> {
    const end = this.timeMs + limitMs
    await settle()
    while (!done()) {
      const next = this.earliest()
      if (next === undefined || next.at > end) {
        this.timeMs = end
        return done()
      }
      this.timers = this.timers.filter((timer) => timer !== next)
      this.timeMs = Math.max(this.timeMs, next.at)
      next.callback()
      await settle()
    }
    return true
  }

  /** Moves time on by `ms` and runs, in this step, the timers that are due then, but none that they set. */
  fire(ms: number): void {
    this.timeMs += ms
    const due = this.timers.filter(({ at }) => at <= this.timeMs)
    this.timers = this.timers.filter(({ at }) => at > this.timeMs)
    for (const { callback } of due) callback()
  }

  /** Moves time on by `ms` and runs nothing, as when the process is stopped. */
  sleep(ms: number): void {
    this.timeMs += ms
  }

  private earliest(): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.timers) {
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer
    }
    return first
  }
}

/** Resolves when all promise continuations that are ready have run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
