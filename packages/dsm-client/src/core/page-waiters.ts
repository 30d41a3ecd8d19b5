/** Accesses that wait for their page. */
import type { Page, PageWaiter } from './page.js'

/** Keeps the accesses that wait, page by page, in the order in which they came. */
export class PageWaiters {
  private readonly pages = new Set<Page>()

  /** Pages with at least one waiter. */
  all(): readonly Page[] {
    return [...this.pages]
  }

  add(page: Page, waiter: PageWaiter): void {
    page.waiters.push(waiter)
    this.pages.add(page)
  }

  /** Returns false if the waiter does not wait, because it ran or failed before. */
  delete(page: Page, waiter: PageWaiter): boolean {
    const at = page.waiters.indexOf(waiter)
    if (at < 0) return false
    page.waiters.splice(at, 1)
    if (page.waiters.length === 0) this.pages.delete(page)
    return true
  }

  fail(page: Page, error: Error): void {
    this.pages.delete(page)
    for (const waiter of page.waiters.splice(0)) waiter.fail(error)
  }
}
