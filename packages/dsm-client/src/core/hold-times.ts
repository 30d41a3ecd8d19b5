/**
 * How long a holder keeps a page that somebody else wants (docs/coherence.md, "Fairness"; kernel: GFS2's minimum hold time). Nothing at first; longer
 * with each time that it was taken away in the middle of being used, shorter with each time that it was not.
 */
import type { Page } from './page.js'

export const MAX_HOLD_MS = 8
const FIRST_HOLD_MS = 0.5
/** Pages whose hold time is remembered. */
const MAX_REMEMBERED = 4096

export class HoldTimes {
  /** Milliseconds, by page; the oldest first. */
  private readonly times = new Map<string, number>()

  /** Somebody wants the page: learns from how it was used since its grant. */
  wanted(page: Page): void {
    const key = keyOf(page)
    const before = this.times.get(key) ?? 0
    this.times.delete(key)
    // Used once and done, whoever waits gets it at once: holding it would only cost time.
    const after = page.uses > 1 ? Math.min(MAX_HOLD_MS, Math.max(FIRST_HOLD_MS, before * 2)) : before / 2
    if (after < FIRST_HOLD_MS) return
    this.times.set(key, after)
    if (this.times.size > MAX_REMEMBERED) this.times.delete(this.times.keys().next().value!)
  }

  /** Until when it is kept; in the past for a page that may go. */
  keptUntil(page: Page): number {
    if (page.access !== 'modified') return 0
    return page.grantedAt + (this.times.get(keyOf(page)) ?? 0)
  }
}

function keyOf({ file, index }: Page): string {
  return `${file}:${index}`
}
