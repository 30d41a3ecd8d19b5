/**
 * How long an owner keeps a page that another client wants (docs/coherence.md, "Fairness"; GFS2's minimum hold time).
 */
import type { Page } from './page.js'

export const MAX_HOLD_MS = 8
const FIRST_HOLD_MS = 0.5
/** Pages whose hold time the client remembers. */
const MAX_REMEMBERED = 4096

/**
 * Learns how long to hold each page.
 *
 * A page starts without a hold time. The time grows whenever a demotion interrupts a run of changes, and shrinks
 * whenever it does not.
 */
export class HoldTimes {
  /** Milliseconds by page, the least recently demoted first. */
  private readonly times = new Map<string, number>()

  /** A demotion arrives: learns from the changes since the grant. */
  wanted(page: Page): void {
    const key = keyOf(page)
    const before = this.times.get(key) ?? 0
    this.times.delete(key)
    // A single change needs no hold: keeping the page would only cost the other client time. A program that looks again
    // and again whether it is its turn changes nothing, and would keep the page from those that it waits for.
    const after =
      page.changes + page.writePins > 1 ? Math.min(MAX_HOLD_MS, Math.max(FIRST_HOLD_MS, before * 2)) : before / 2
    if (after < FIRST_HOLD_MS) return
    this.times.set(key, after)
    if (this.times.size > MAX_REMEMBERED) this.times.delete(this.times.keys().next().value!)
  }

  /** Returns until when to keep the page, in milliseconds. The time lies in the past for a page that may go. */
  keptUntil(page: Page): number {
    if (page.access !== 'modified') return 0
    return page.grantedAt + (this.times.get(keyOf(page)) ?? 0)
  }
}

function keyOf({ file, index }: Page): string {
  return `${file}:${index}`
}
