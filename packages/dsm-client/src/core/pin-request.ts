/** A pin in the making: its pages are put next to each other, then acquired in ascending order (api.md, `pin`). */
import { CacheFullError, PinConflictError, type Access } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Page } from './page.js'
import type { PageTable } from './page-table.js'

export interface PinTarget {
  readonly space: AddressSpacePages
  readonly first: number
  readonly count: number
  readonly access: Access
}

export interface PinOutcome {
  /** Every page is pinned; each is given back by `unpin`. */
  done(pages: readonly Page[]): void
  fail(error: Error): void
}

/** Ascending order: of two clients that want the same pages, the one that has the first gets them all. Returns a function that withdraws. */
export function requestPin(table: PageTable, target: PinTarget, outcome: PinOutcome): () => void {
  const request = new PinRequest(table, target, outcome)
  request.start()
  return () => request.end()
}

class PinRequest {
  private pages: Page[] = []
  private readonly pinned: Page[] = []
  private isReserved = false
  private hasEnded = false
  private withdraw: () => void = () => {}

  constructor(
    private readonly table: PageTable,
    private readonly target: PinTarget,
    private readonly outcome: PinOutcome
  ) {}

  start(): void {
    const { space, first, count } = this.target
    // Anew each time: nothing keeps the entries while this waits for room.
    this.pages = Array.from({ length: count }, (_, i) => space.getOrCreate(first + i))
    switch (this.table.layOut(this.pages)) {
      case 'done':
        this.isReserved = true
        for (const page of this.pages) this.table.resident.reserve(page)
        return this.acquire()
      case 'conflict': {
        const bytes = this.pages.length * space.pageSize
        return this.fail(new PinConflictError(space.path, first * space.pageSize, bytes))
      }
      case 'noRoom':
        if (this.pages.length * space.pageSize > this.table.resident.capacityBytes || this.table.resident.allHeld) {
          return this.fail(new CacheFullError(this.table.resident.capacityBytes))
        }
        // What is dirty is on its way back; then there is more room.
        this.withdraw = this.table.whenRoom(
          () => this.start(),
          (error) => this.fail(error)
        )
    }
  }

  private acquire(): void {
    if (this.hasEnded) return
    const { space, first, count, access } = this.target
    const at = this.pinned.length
    if (at === count) {
      this.hasEnded = true
      this.unreserve()
      this.outcome.done(this.pages)
      return
    }
    const withdraw = this.table.access(space.file, first + at, {
      access,
      pin: true,
      run: (_, page) => {
        this.pinned.push(page)
        this.acquire()
      },
      fail: (error) => this.fail(error)
    })
    // A page that was here ran at once, and the wait for the next has begun: that is what must be withdrawn.
    if (this.pinned.length === at) this.withdraw = withdraw
  }

  private fail(error: Error): void {
    if (this.hasEnded) return
    this.end()
    this.outcome.fail(error)
  }

  /** Gives up what it has. */
  end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.withdraw()
    this.unreserve()
    for (const page of this.pinned) this.table.unpin(page, this.target.access)
    for (const page of this.pages) this.table.forgetIfUnused(page)
  }

  private unreserve(): void {
    if (!this.isReserved) return
    this.isReserved = false
    for (const page of this.pages) this.table.resident.unreserve(page)
  }
}
