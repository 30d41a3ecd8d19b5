import type { Clock, Random } from '@quire/protocol'
import { seeded } from '../../src/log-compliance/rig.js'

export function seededRandom(seed: number): Random {
  return { next: seeded(seed) }
}

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

/**
 * A clock whose time passes only in `run`.
 *
 * Timers fire in order, and all promises settle between two of them.
 */
export class VirtualClock implements Clock {
  private time = 0
  private order = 0
  private timers: Timer[] = []

  now(): number {
    return this.time
  }

  wallTime(): number {
    return this.time
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.time + delayMs, order: this.order++, callback }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((each) => each !== timer)
    }
  }

  async run(ms: number): Promise<void> {
    await this.until(() => false, ms)
  }

  /** Runs until `done`; returns false if that does not happen within `ms`. */
  async until(done: () => boolean, ms = 60_000): Promise<boolean> {
    const end = this.time + ms
    await settle()
    while (!done()) {
      const next = this.earliest()
      if (next === undefined || next.at > end) {
        this.time = end
        return done()
      }
      this.timers = this.timers.filter((each) => each !== next)
      this.time = next.at
      next.callback()
      await settle()
    }
    return true
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

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
