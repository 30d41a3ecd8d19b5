import type { Page } from './page.js'

interface UnpinWaiter {
  readonly file: number
  readonly pages: readonly Page[]
  done(): void
  fail(error: Error): void
}

/** Keeps the callers that wait until pages of a file are unpinned. */
export class UnpinWaiters {
  private readonly waiters = new Set<UnpinWaiter>()

  /** Calls `done`, now or later, when none of the pages is pinned. Returns a function that withdraws the waiter. */
  enter(waiter: UnpinWaiter): () => void {
    if (!isPinned(waiter)) {
      waiter.done()
      return () => {}
    }
    this.waiters.add(waiter)
    return () => this.waiters.delete(waiter)
  }

  pinEnded(): void {
    for (const waiter of this.waiters) {
      if (isPinned(waiter)) continue
      this.waiters.delete(waiter)
      waiter.done()
    }
  }

  fail(file: number, reason: Error): void {
    for (const waiter of this.waiters) {
      if (waiter.file !== file) continue
      this.waiters.delete(waiter)
      waiter.fail(reason)
    }
  }
}

function isPinned({ pages }: UnpinWaiter): boolean {
  return pages.some((page) => page.pinned)
}
