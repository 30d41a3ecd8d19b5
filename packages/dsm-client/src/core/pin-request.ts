/** Pins in the making: their pages are put next to each other, then acquired (api.md, `pin`). */
import { CacheFullError, PinConflictError, type Access } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Page, PageWaiter } from './page.js'

export interface PinTarget {
  readonly space: AddressSpacePages
  readonly first: number
  readonly count: number
  readonly access: Access
}

export interface PinOutcome {
  /** Every page is pinned; each is given back by `unpin`. In ascending order. */
  done(pages: readonly Page[]): void
  fail(error: Error): void
  /** More pages are pinned than ever before: `count` of them. */
  advanced(count: number): void
}

/** What a pin needs of the page table: see `PageTable`. */
export interface PinnableTable {
  readonly pins: PinRequests
  readonly resident: {
    readonly capacityBytes: number
    isFullFor(pageSize: number, count: number): boolean
    reserve(page: Page): void
    unreserve(page: Page): void
  }
  access(file: number, index: number, waiter: PageWaiter): () => void
  unpin(page: Page, access: Access): void
  layOut(pages: readonly Page[]): 'done' | 'conflict' | 'noRoom'
  whenRoom(run: () => void, fail: (error: Error) => void): () => void
  forgetIfUnused(page: Page): void
}

/**
 * Ascending order: of two clients that want the same pages, the one that has the first gets them all. A file that is owned as a whole comes as a
 * whole, so there all pages are asked for at once. Returns a function that withdraws.
 */
export function requestPin(table: PinnableTable, target: PinTarget, outcome: PinOutcome): () => void {
  const request = new PinRequest(table, target, outcome)
  table.pins.add(request)
  request.start()
  return () => request.end()
}

/** How long an order for a page waits at first for the rest of a pin; twice as long each time that it was in vain. */
const FIRST_PATIENCE_MS = 50

/** Pins that are not complete. Nobody has their bytes yet, so they can give back what they have. */
export class PinRequests {
  private readonly requests = new Set<PinRequest>()

  add(request: PinRequest): void {
    this.requests.add(request)
  }

  delete(request: PinRequest): void {
    this.requests.delete(request)
  }

  /**
   * Pages from `first` up to but without `end` are wanted by somebody for whom the rest of such a pin may have to wait: it gives back what it
   * has and starts again when they are through.
   */
  giveWay({ file }: AddressSpacePages, first: number, end: number): void {
    for (const request of this.of(file)) if (request.overlaps(first, end)) request.giveWay()
  }

  /** The leader wants a page that may be pinned by such a pin. */
  wanted(page: Page, nowMs: number): void {
    for (const request of this.of(page.file)) request.wanted(page, nowMs)
  }

  /** The leader wants the whole file, of which such pins may have pages. */
  fileWanted({ file }: AddressSpacePages, nowMs: number): void {
    for (const request of this.of(file)) request.fileWanted(nowMs)
  }

  /** Those whose patience is over give way. */
  timePassed(nowMs: number): void {
    for (const request of [...this.requests]) if (request.givesWayAt <= nowMs) request.giveWayToOrder()
  }

  /** When the first of them does; Infinity: there is none. */
  get nextDeadline(): number {
    let next = Infinity
    for (const { givesWayAt } of this.requests) next = Math.min(next, givesWayAt)
    return next
  }

  /** Those that wait for nothing but this look again. */
  resume(): void {
    for (const request of [...this.requests]) request.resume()
  }

  fail(file: number, reason: Error): void {
    const failing = this.of(file)
    // All leave before the first fails: the end of one lets others start again, which may have no file any more.
    for (const request of failing) this.requests.delete(request)
    for (const request of failing) request.fail(reason)
  }

  /** A request is in the way of this one, and will be out of it without anybody's help. */
  isInTheWay(request: PinRequest): boolean {
    const { space, first, count } = request.target
    return this.of(space.file).some(
      (other) => other !== request && other.hasPlace && other.overlaps(first, first + count)
    )
  }

  private of(file: number): PinRequest[] {
    return [...this.requests].filter(({ target }) => target.space.file === file)
  }
}

class PinRequest {
  private pages: Page[] = []
  private pinned: Page[] = []
  /** The most pages that it has had pinned at once. */
  private furthest = 0
  /** Its pages have their places in memory, and keep them. */
  hasPlace = false
  private isPaused = false
  private hasEnded = false
  private withdrawals: (() => void)[] = []
  private patienceMs = FIRST_PATIENCE_MS
  /** Milliseconds; Infinity: nobody wants what it has. */
  givesWayAt = Infinity

  constructor(
    private readonly table: PinnableTable,
    readonly target: PinTarget,
    private readonly outcome: PinOutcome
  ) {}

  overlaps(first: number, end: number): boolean {
    const { target } = this
    return target.first < end && target.first + target.count > first
  }

  start(): void {
    if (this.hasEnded) return
    const { space, first, count } = this.target
    const { table } = this
    this.isPaused = !this.mayStart()
    if (this.isPaused) return
    // Nothing holds them while this waits for room: they may have gone, and others come.
    this.pages = Array.from({ length: count }, (_, i) => space.getOrCreate(first + i))
    const result = table.layOut(this.pages)
    if (result === 'done') {
      this.hasPlace = true
      for (const page of this.pages) table.resident.reserve(page)
      return this.acquire()
    }
    this.forgetPages()
    const bytes = count * space.pageSize
    if (result === 'conflict') {
      if (table.pins.isInTheWay(this)) this.isPaused = true
      else this.fail(new PinConflictError(space.path, first * space.pageSize, bytes))
      return
    }
    const { resident } = table
    if (resident.isFullFor(space.pageSize, count)) return this.fail(new CacheFullError(resident.capacityBytes, bytes))
    // What is dirty is on its way back; then there is more room.
    const run = (): void => this.start()
    this.withdrawals = [table.whenRoom(run, (error) => this.fail(error))]
  }

  resume(): void {
    if (this.isPaused) this.start()
  }

  /** Gives back what it has, and starts again when nobody else waits for a page of it. */
  giveWay(): void {
    if (this.hasEnded || !this.hasPlace) return
    this.giveBack()
    this.isPaused = true
  }

  wanted(page: Page, nowMs: number): void {
    if (this.pinned.includes(page)) this.beginPatience(nowMs)
  }

  fileWanted(nowMs: number): void {
    if (this.pinned.length > 0) this.beginPatience(nowMs)
  }

  private beginPatience(nowMs: number): void {
    if (this.givesWayAt === Infinity) this.givesWayAt = nowMs + this.patienceMs
  }

  /**
   * Ascending order sees to it that of two pins one goes on. But the page that this one waits for may be held by a discard that waits, in turn, for what
   * the order is for. Not at once, or two clients could take turns for ever at taking pages from each other.
   */
  giveWayToOrder(): void {
    this.givesWayAt = Infinity
    if (this.target.space.demotion === undefined && !this.pinned.some((page) => page.demotion !== undefined)) return
    this.patienceMs *= 2
    this.giveWay()
  }

  fail(error: Error): void {
    if (this.hasEnded) return
    this.end()
    this.outcome.fail(error)
  }

  /** Gives up. */
  end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.table.pins.delete(this)
    this.giveBack()
    this.table.pins.resume()
  }

  private mayStart(): boolean {
    const { space, first, count } = this.target
    for (let index = first; index < first + count; index++) {
      if (space.isLeaving(index) || (space.get(index)?.evicting ?? 0) > 0) return false
    }
    return true
  }

  private acquire(): void {
    const { space, first, count } = this.target
    const batch = space.unit === 'file' ? count : 1
    const end = this.pinned.length + batch
    const attempt = this.pages
    for (let at = this.pinned.length; at < end; at++) this.acquirePage(first + at, attempt)
  }

  private acquirePage(index: number, attempt: readonly Page[]): void {
    // What was granted meanwhile may have ended this attempt.
    if (!this.hasPlace || this.pages !== attempt) return
    const { space, access, count } = this.target
    const withdraw = this.table.access(space.file, index, {
      access,
      pin: true,
      run: (_, page) => {
        this.pinned.push(page)
        if (this.pinned.length > this.furthest) {
          this.furthest = this.pinned.length
          this.outcome.advanced(this.furthest)
        }
        if (this.pinned.length === count) this.complete()
        else if (space.unit !== 'file') this.acquire()
      },
      fail: (error) => this.fail(error)
    })
    // Of what runs at once there is nothing to withdraw, and it may be over by now.
    if (this.hasPlace && this.pages === attempt) this.withdrawals.push(withdraw)
    else withdraw()
  }

  private complete(): void {
    this.hasEnded = true
    this.table.pins.delete(this)
    this.withdrawals = []
    this.unreserve()
    this.outcome.done(this.pinned.sort((a, b) => a.index - b.index))
    // They are held back by a pin now, not by a request.
    this.table.pins.resume()
  }

  private giveBack(): void {
    const { withdrawals, pinned } = this
    this.withdrawals = []
    this.pinned = []
    this.givesWayAt = Infinity
    for (const withdraw of withdrawals) withdraw()
    this.unreserve()
    for (const page of pinned) this.table.unpin(page, this.target.access)
    this.forgetPages()
  }

  private forgetPages(): void {
    for (const page of this.pages) this.table.forgetIfUnused(page)
    this.pages = []
  }

  private unreserve(): void {
    if (!this.hasPlace) return
    this.hasPlace = false
    for (const page of this.pages) this.table.resident.unreserve(page)
  }
}
