/** Turns waiting accesses into faults. */
import { CacheFullError, type Access } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Page } from './page.js'
import type { PageFrames } from './page-frames.js'

export interface FaultQueueInit {
  readonly frames: PageFrames
  readonly backend: {
    readonly canFault: boolean
    fault(page: Page, access: Access): void
    dropFault(page: Page): void
  }
  readonly spaceOf: (page: Page) => AddressSpacePages
  readonly failWaiters: (page: Page, error: Error) => void
  readonly forgetIfUnused: (page: Page) => void
}

/** Sends a fault for every page whose waiters need more access than the page has. */
export class FaultQueue {
  /** Pages that wait for a frame or for an outstanding fault to end, in order. */
  private readonly queue = new Set<Page>()
  /** As `queue`, for pages that no access waits for yet. They come last. */
  private readonly prefetches = new Set<Page>()

  constructor(private readonly init: FaultQueueInit) {}

  get length(): number {
    return this.queue.size + this.prefetches.size
  }

  /** Sends or queues a fault for the page if its waiters need one. */
  request(page: Page): void {
    const { frames, backend, spaceOf, failWaiters, forgetIfUnused } = this.init
    if (page.req !== 0 || page.waiters.length === 0 || page.evicting > 0) return
    if (page.queuedForFault) return this.promote(page)
    const access: Access = page.waiters.some((waiter) => waiter.access === 'write') ? 'write' : 'read'
    const space = spaceOf(page)
    // With access in hand, something else holds the waiters up; the end of that calls this again.
    if (page.allows(access) || space.isUncertain(page.index)) return
    // The client is giving the whole file up. It still completes a pin that has begun, and begins nothing new.
    const isLeaving = space.demotion !== undefined && page.reserved === 0
    const mustWait = !backend.canFault || (frames.isStarved && page.frame === undefined)
    if (isOptional(page) && (isLeaving || mustWait || !frames.place(page, space))) {
      failWaiters(page, NOT_NOW)
      return forgetIfUnused(page)
    }
    if (isLeaving) return
    if (mustWait || !this.place(page, space)) {
      if (page.waiters.length === 0) return
      page.queuedForFault = true
      const queue = isPrefetch(page) ? this.prefetches : this.queue
      queue.add(page)
      return
    }
    page.changes = 0
    backend.fault(page, access)
  }

  /** Tries each queued page once. */
  pump(): void {
    for (const queue of [this.queue, this.prefetches]) this.pumpQueue(queue)
  }

  private pumpQueue(queue: Set<Page>): void {
    const { backend, forgetIfUnused } = this.init
    for (let count = queue.size; count > 0 && backend.canFault; count--) {
      const [page] = queue
      if (page === undefined) return
      queue.delete(page)
      page.queuedForFault = false
      // A page that has a frame proceeds even while others wait for one.
      this.request(page)
      forgetIfUnused(page)
    }
  }

  /** An access now waits for a page that was only to be prefetched. */
  private promote(page: Page): void {
    if (isPrefetch(page) || !this.prefetches.delete(page)) return
    this.queue.add(page)
  }

  /** Drops the page's fault, sent or queued. A grant that is on its way finds no waiter. */
  drop(page: Page): void {
    if (page.req !== 0) this.init.backend.dropFault(page)
    if (!page.queuedForFault) return
    page.queuedForFault = false
    this.queue.delete(page)
    this.prefetches.delete(page)
  }

  clear(): void {
    for (const queue of [this.queue, this.prefetches]) {
      for (const page of queue) page.queuedForFault = false
      queue.clear()
    }
  }

  /** Fails the waiters of all queued pages that have no frame. */
  failUnplaced(error: Error): void {
    for (const queue of [this.queue, this.prefetches]) {
      for (const page of queue) if (page.frame === undefined) this.init.failWaiters(page, error)
    }
  }

  /** Finds a frame before the fault is sent, so that every grant has a place to go. */
  private place(page: Page, space: AddressSpacePages): boolean {
    const { frames, failWaiters } = this.init
    if (frames.place(page, space)) return true
    if (frames.isFullFor(page.pageSize, 1)) {
      failWaiters(page, new CacheFullError(frames.capacityBytes, page.pageSize))
      return false
    }
    frames.starve()
    return false
  }
}

/** Fails optional waiters. Shared, because making an error for each of many would dominate their cost. */
const NOT_NOW = new Error('an optional access does not wait')

function isPrefetch(page: Page): boolean {
  return page.waiters.every(({ isPrefetch = false }) => isPrefetch)
}

/** Nothing suffers if the page does not come. */
function isOptional(page: Page): boolean {
  return page.waiters.every((waiter) => waiter.isOptional === true)
}
