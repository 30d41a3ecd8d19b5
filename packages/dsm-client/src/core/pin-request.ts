/** Pins in the making: each lays its pages out next to each other, then acquires them. */
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
  /** Every page is pinned. The caller gives each back with `unpin`. `pages` are in ascending order. */
  done(pages: readonly Page[]): void
  fail(error: Error): void
  /** `count` pages are pinned, more than ever before. */
  advanced(count: number): void
}

/** The parts of the page table that a pin uses: see `PageTable`. */
export interface PinnableTable {
  readonly pins: PinRequests
  readonly frames: {
    readonly capacityBytes: number
    isFullFor(pageSize: number, count: number): boolean
    reserve(page: Page): void
    unreserve(page: Page): void
    layOut(space: AddressSpacePages, pages: readonly Page[]): 'done' | 'conflict' | 'noRoom'
    whenRoom(run: () => void, fail: (error: Error) => void): () => void
  }
  access(file: number, index: number, waiter: PageWaiter): () => void
  prefetch(space: AddressSpacePages, index: number, access: Access, fail: (error: Error) => void): () => void
  unpin(page: Page, access: Access, hasChanged?: boolean): void
  forgetIfUnused(page: Page): void
}

/** Acquires the pages in the batches of `HeldUnit.pinBatch`. Returns a function that withdraws the request. */
export function requestPin(table: PinnableTable, target: PinTarget, outcome: PinOutcome): () => void {
  const request = new PinRequest(table, target, outcome)
  table.pins.add(request)
  request.start()
  return () => request.end()
}

/** How long a demotion first waits for a pin to complete. The time doubles with each failure to complete. */
const FIRST_PATIENCE_MS = 50

/** Keeps the pins that are not complete: the program has no bytes of them yet, so they can give their pages back. */
export class PinRequests {
  private readonly requests = new Set<PinRequest>()

  add(request: PinRequest): void {
    this.requests.add(request)
  }

  delete(request: PinRequest): void {
    this.requests.delete(request)
  }

  /**
   * Something needs the pages from `first` up to but without `end` before these pins may complete. A pin that overlaps
   * the range gives its pages back, and starts again afterwards.
   */
  giveWay({ file }: AddressSpacePages, first: number, end: number): void {
    for (const request of this.of(file)) if (request.overlaps(first, end)) request.giveWay()
  }

  /** The leader demotes a page that such a pin may have pinned. */
  wanted(page: Page, nowMs: number): void {
    for (const request of this.of(page.file)) request.wanted(page, nowMs)
  }

  /** The leader demotes a whole file of which such pins may have pages. */
  fileWanted({ file }: AddressSpacePages, nowMs: number): void {
    for (const request of this.of(file)) request.fileWanted(nowMs)
  }

  /** Lets the pins give way whose patience is over. */
  timePassed(nowMs: number): void {
    for (const request of [...this.requests]) if (request.givesWayAt <= nowMs) request.giveWayToDemotion()
  }

  /** When the next pin gives way, in milliseconds; Infinity if none will. */
  get nextDeadline(): number {
    let next = Infinity
    for (const { givesWayAt } of this.requests) next = Math.min(next, givesWayAt)
    return next
  }

  /** Starts the paused pins again that may start now. */
  resume(): void {
    for (const request of [...this.requests]) request.resume()
  }

  fail(file: number, reason: Error): void {
    const failing = this.of(file)
    // Remove all before the first fails: its end makes the others start again, and their file may be gone.
    for (const request of failing) this.requests.delete(request)
    for (const request of failing) request.fail(reason)
  }

  /** Another pin in the making occupies part of the range, and will leave it by itself. */
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

/** Acquires the pages of one pin. */
class PinRequest {
  private pages: Page[] = []
  private pinned: Page[] = []
  /** The pages that it has pinned or asked for. */
  private requested = 0
  /** The most pages that it had pinned at once. */
  private furthest = 0
  /** Its pages have their final places in memory. */
  hasPlace = false
  private isPaused = false
  /** Something has taken pages from this pin before it was complete. */
  private isContended = false
  private hasEnded = false
  private withdrawals: (() => void)[] = []
  private patienceMs = FIRST_PATIENCE_MS
  /** Milliseconds; Infinity while the leader demotes none of its pages. */
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
    // Nothing holds the entries while the pin waits for room, so each start makes them anew.
    this.pages = Array.from({ length: count }, (_, i) => space.getOrCreate(first + i))
    const result = table.frames.layOut(space, this.pages)
    if (result === 'done') {
      this.hasPlace = true
      for (const page of this.pages) table.frames.reserve(page)
      this.acquire()
      if (!this.isContended) this.prefetch()
      return
    }
    this.forgetPages()
    const bytes = count * space.pageSize
    if (result === 'conflict') {
      if (table.pins.isInTheWay(this)) this.isPaused = true
      else this.fail(new PinConflictError(space.path, first * space.pageSize, bytes))
      return
    }
    const { frames } = table
    if (frames.isFullFor(space.pageSize, count)) return this.fail(new CacheFullError(frames.capacityBytes, bytes))
    // Writebacks under way will make more room.
    const run = (): void => this.start()
    this.withdrawals = [frames.whenRoom(run, (error) => this.fail(error))]
  }

  resume(): void {
    if (this.isPaused) this.start()
  }

  /** Gives its pages back, and starts again when nothing else waits for them. */
  giveWay(): void {
    if (this.hasEnded || !this.hasPlace) return
    this.giveBack()
    this.isPaused = true
    this.isContended = true
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
   * Ascending order guarantees that one of two pins proceeds. But a discard may hold the page that this pin waits for,
   * and wait in turn for the page that the leader demotes. The pin gives way only after its patience: otherwise two
   * clients could take pages from each other forever.
   */
  giveWayToDemotion(): void {
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

  /**
   * Asks for the other pages, too. They arrive in any order, and until this pin holds them another client may take them
   * away again.
   */
  private prefetch(): void {
    const { space, first, count, access } = this.target
    const attempt = this.pages
    for (let index = first + this.requested; index < first + count; index++) {
      // The pin may be complete, and a failure ends the attempt.
      if (!this.hasPlace || this.pages !== attempt) return
      this.withdrawals.push(this.table.prefetch(space, index, access, (error) => this.fail(error)))
    }
  }

  private acquire(): void {
    const { space, first, count } = this.target
    const from = this.pinned.length
    const end = from + space.held.pinBatch(count)
    const attempt = this.pages
    this.requested = end
    for (let at = from; at < end; at++) this.acquirePage(first + at, attempt)
  }

  private acquirePage(index: number, attempt: readonly Page[]): void {
    // A grant that arrived meanwhile may have ended this attempt.
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
        else if (this.pinned.length === this.requested) this.acquire()
      },
      fail: (error) => this.fail(error)
    })
    // An access that ran at once needs no withdrawal, and may have ended this attempt.
    if (this.hasPlace && this.pages === attempt) this.withdrawals.push(withdraw)
    else withdraw()
  }

  private complete(): void {
    this.hasEnded = true
    this.table.pins.delete(this)
    this.withdrawals = []
    this.unreserve()
    this.outcome.done(this.pinned.sort((a, b) => a.index - b.index))
    // A complete pin holds the pages now: other requests must look again.
    this.table.pins.resume()
  }

  private giveBack(): void {
    const { withdrawals, pinned } = this
    this.withdrawals = []
    this.pinned = []
    this.givesWayAt = Infinity
    for (const withdraw of withdrawals) withdraw()
    this.unreserve()
    for (const page of pinned) this.table.unpin(page, this.target.access, false)
    this.forgetPages()
  }

  private forgetPages(): void {
    for (const page of this.pages) this.table.forgetIfUnused(page)
    this.pages = []
  }

  private unreserve(): void {
    if (!this.hasPlace) return
    this.hasPlace = false
    for (const page of this.pages) this.table.frames.unreserve(page)
  }
}
