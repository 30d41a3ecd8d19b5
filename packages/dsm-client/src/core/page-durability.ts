import { UnavailableError, errorFromWire, type LeaderMessageOf, type WritebackOutcome } from '@quire/protocol'
import type { FlushWaiter, Page } from './page.js'
import type { PageTable } from './page-table.js'
import type { Twins } from './twins.js'
import type { WritebackQueue } from './writeback-queue.js'

export interface PageDurabilityInit {
  readonly table: PageTable
  readonly writebacks: WritebackQueue
  readonly twins: Twins
  /** A writeback is durable. If it is stale, a handover or a later writeback has made its bytes durable. */
  readonly written: (outcome: WritebackOutcome) => void
  /** The leader refused to store the page's bytes. */
  readonly refused: (page: Page) => void
  /** Credit may have come free, or a page has become clean: demotions may proceed. */
  readonly advanced: () => void
}

/**
 * Records which bytes of the pages are durable (docs/coherence.md, rule 14).
 *
 * It takes the leader's answers to writebacks, and ends the flushes that wait for them.
 */
export class PageDurability {
  constructor(private readonly init: PageDurabilityInit) {}

  writebackAcknowledged(message: LeaderMessageOf<'writebackAck'>): void {
    if (message.req !== 0 && this.init.writebacks.answered(message.req) === undefined) return
    for (const outcome of message.pages) {
      if (message.req === 0) this.init.writebacks.givenAcknowledged(outcome)
      // To a live session, `stale` means that the bytes are durable already (rule 14).
      if (outcome.result !== 'base') this.init.written(outcome)
      const page = this.init.table.page(outcome.file, outcome.page)
      if (page !== undefined && page.epoch === outcome.epoch) this.pageWritten(page, outcome)
    }
    this.init.advanced()
  }

  /** The leader refused a writeback: the pages stay dirty. */
  writebackFailed(message: LeaderMessageOf<'writebackFailed'>): void {
    const flights = this.init.writebacks.answered(message.req)
    if (flights === undefined) return
    const error = errorFromWire(message.error)
    for (const { page, epoch, seq } of flights) {
      this.init.refused(page)
      // Under another epoch, the page has arrived anew, and its flushes do not concern these bytes.
      if (page.epoch !== epoch) continue
      // A failed flush never gives the page up: the page stays dirty, and msync rejects. A newer writeback has its own
      // answer.
      if (page.seq === seq) page.writing = false
      for (const flush of page.flushes.splice(0)) {
        if (flush.seq <= seq) flush.fail(error)
        else page.flushes.push(flush)
      }
      this.init.table.changed(page)
    }
    this.init.advanced()
    // A leader that is only busy gets the writeback again: see `retry`.
    if (!(error instanceof UnavailableError)) this.init.table.failStarved(error)
  }

  /** The bytes in the frame are durable, or belong to another owner. */
  clean(page: Page): void {
    this.resolveFlushes(page, () => true)
    page.writeProtect()
    page.dirty = false
    page.changed = false
    page.writing = false
  }

  /** Forgets bytes that are durable, or belong to another owner, with the access to them. */
  drop(page: Page): void {
    page.invalidate()
    this.init.twins.forget(page)
    this.clean(page)
    page.epoch = 0
    page.version = 0
    this.init.table.changed(page)
  }

  private pageWritten(page: Page, outcome: WritebackOutcome): void {
    const { twins, writebacks } = this.init
    if (outcome.result === 'base') {
      twins.forget(page)
      // A newer writeback is whole.
      if (outcome.seq === page.seq) {
        page.writing = false
        writebacks.enqueue(page)
      }
    } else if (outcome.result === 'stale' && outcome.seq === page.seq) {
      // Rule 14: to a live session, a stale epoch means that a handover has committed these bytes.
      this.drop(page)
    } else {
      // An older writeback can be stale because a newer one overtook it. That says nothing of later writes.
      this.resolveFlushes(page, (flush) => flush.seq <= outcome.seq)
      if (outcome.result === 'stored') twins.stored(page, outcome.epoch, outcome.seq)
      if (outcome.seq === page.seq) {
        page.writing = false
        page.version = outcome.version
        if (!page.changed) page.dirty = false
      }
      // A grant on its way may be older than these bytes: the epoch will tell.
      if (page.access === 'invalid' && !page.dirty && page.req === 0) page.epoch = 0
    }
    this.init.table.changed(page)
    this.init.table.forgetIfUnused(page)
  }

  private resolveFlushes(page: Page, isDone: (flush: FlushWaiter) => boolean): void {
    if (page.flushes.length === 0) return
    const waiting = page.flushes.splice(0)
    for (const flush of waiting) {
      if (flush.epoch !== page.epoch || isDone(flush)) flush.done()
      else page.flushes.push(flush)
    }
  }
}
