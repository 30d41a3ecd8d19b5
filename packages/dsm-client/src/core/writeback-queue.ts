/**
 * Takes dirty pages back to the cluster, in batches that fill a bulk frame. Unacknowledged bytes never exceed the credit
 * that the leader gave; unreceived bytes never exceed twice what may be on the line. A page's bytes are copied when they
 * leave, so the program may write to it meanwhile. An acknowledgement cleans only the version that it names (rule 14).
 */
import {
  MAX_BULK_PAYLOAD_BYTES,
  MAX_WRITEBACK_PAGES,
  type ClientMessage,
  type DirtyPageBytes,
  type WritebackOutcome
} from '@quire/protocol'
import type { CoherenceCounters } from './stats.js'
import type { Page } from './page.js'

/** A page's bytes that are on their way, as what number under which epoch. */
export interface Flight {
  readonly page: Page
  readonly epoch: number
  readonly seq: number
}

/** Exactly one of them is called. */
export interface StartWaiter {
  started(): void
  fail(error: Error): void
}

export class WritebackQueue {
  /** In the order in which they leave; those that have left already, because they were urgent, are passed over. */
  private readonly queue: Page[] = []
  private readonly urgent = new Set<Page>()
  private readonly flying = new Map<number, { readonly flights: readonly Flight[]; readonly bytes: number }>()
  /** Pages whose bytes left as the answer to an order, with their size. */
  private readonly given = new Map<string, number>()
  private flyingBytes = 0
  private creditBytes = 0
  /** What the line carries in a short time. */
  private windowBytes = Infinity
  /** Bytes sent that the leader has not reported as received. */
  private unreceivedBytes = 0
  private nextReq = 1
  /** Who waits for the bytes of a page to leave. */
  private readonly waiting = new Map<Page, StartWaiter[]>()

  constructor(
    private readonly send: (message: ClientMessage) => void,
    private readonly counters: CoherenceCounters,
    /** The number of the next writeback under the page's epoch. */
    private readonly nextSeq: (page: Page) => number
  ) {}

  /** Somebody else waits for it: it leaves before what is only flushed. */
  hurry(page: Page): void {
    page.queuedForWrite = true
    this.urgent.add(page)
  }

  enqueue(page: Page, waiter?: StartWaiter): void {
    if (waiter !== undefined) this.waiting.set(page, [...(this.waiting.get(page) ?? []), waiter])
    if (page.queuedForWrite) return
    page.queuedForWrite = true
    this.queue.push(page)
  }

  /** The page's bytes have left, or need not. */
  started(page: Page): void {
    for (const waiter of this.takeWaiting(page)) waiter.started()
  }

  /** The page is given up: its bytes will not leave. */
  refuse(page: Page, reason: Error): void {
    for (const waiter of this.takeWaiting(page)) waiter.fail(reason)
  }

  private takeWaiting(page: Page): readonly StartWaiter[] {
    const waiting = this.waiting.get(page) ?? []
    this.waiting.delete(page)
    return waiting
  }

  /** Whether a page may leave now. */
  hasCredit(page: Page): boolean {
    return this.mayLeave(page.pageSize, true)
  }

  /**
   * The leader's credit bounds all that it has not acknowledged. The line bounds only bytes that the leader has not
   * received: as many as it carries, and as many again behind them. The rest waits here, where an urgent page can still
   * leave first. If bytes that are being committed counted against the line, its window would never fill, and so never
   * grow.
   *
   * One page goes alone, however small the credit while nothing is unacknowledged, and however thin the line while nothing
   * is unreceived. What is unacknowledged says nothing about the line: it may itself wait for a page that is still here.
   */
  private mayLeave(bytes: number, isOnePage: boolean): boolean {
    const { flyingBytes, unreceivedBytes } = this
    const isInCredit = flyingBytes + bytes <= this.creditBytes || (isOnePage && flyingBytes === 0)
    const isOnLine = unreceivedBytes + bytes <= 2 * this.windowBytes || (isOnePage && unreceivedBytes === 0)
    return isInCredit && isOnLine
  }

  limit(windowBytes: number, unreceivedBytes: number): void {
    this.windowBytes = windowBytes
    this.unreceivedBytes = unreceivedBytes
  }

  /** The page's bytes leave as the answer to an order; they count until they are acknowledged, as all others do. */
  give(page: Page): DirtyPageBytes {
    const dirty = this.snapshot(page)
    this.given.set(keyOf(dirty), page.pageSize)
    this.flyingBytes += page.pageSize
    this.unreceivedBytes += page.pageSize
    return dirty
  }

  givenAcknowledged(outcome: WritebackOutcome): void {
    const key = keyOf(outcome)
    this.flyingBytes -= this.given.get(key) ?? 0
    this.given.delete(key)
  }

  connected(creditBytes: number): void {
    this.creditBytes = creditBytes
  }

  /** What was on its way may or may not have arrived: it will be taken again, as it is then (rule 15). */
  disconnected(): void {
    this.creditBytes = 0
    this.flying.clear()
    this.given.clear()
    this.flyingBytes = 0
    this.unreceivedBytes = 0
  }

  pump(): void {
    while (this.next !== undefined && this.creditBytes > 0) {
      const pages: Page[] = []
      let bytes = 0
      const maxBytes = Math.min(MAX_BULK_PAYLOAD_BYTES, this.windowBytes)
      while (pages.length < MAX_WRITEBACK_PAGES) {
        const page = this.next
        if (page === undefined) break
        const isFirst = pages.length === 0
        const total = bytes + page.pageSize
        const fits = isFirst || total <= maxBytes
        if (page.dirty && !(fits && this.mayLeave(total, isFirst))) break
        if (!this.urgent.delete(page)) this.queue.shift()
        page.queuedForWrite = false
        if (!page.dirty) {
          this.started(page)
          continue
        }
        pages.push(page)
        bytes += page.pageSize
      }
      if (pages.length === 0) return
      const req = this.nextReq++
      const taken = pages.map((page) => this.snapshot(page))
      this.flying.set(req, { flights: pages.map((page) => ({ page, epoch: page.epoch, seq: page.seq })), bytes })
      this.flyingBytes += bytes
      this.unreceivedBytes += bytes
      this.send({ type: 'writeback', req, pages: taken })
      for (const page of pages) this.started(page)
    }
  }

  /** Pages that wait or are on their way. */
  get count(): number {
    return this.queue.length + this.flying.size
  }

  private get next(): Page | undefined {
    for (const page of this.urgent) return page
    while (this.queue[0]?.queuedForWrite === false) this.queue.shift()
    return this.queue[0]
  }

  /** A writeback was answered; its credit comes back. Undefined: not one of this connection's. */
  answered(req: number): readonly Flight[] | undefined {
    const flying = this.flying.get(req)
    if (flying === undefined) return undefined
    this.flying.delete(req)
    this.flyingBytes -= flying.bytes
    return flying.flights
  }

  /** Takes what the page holds now as its newest version. The copy is the message's. */
  private snapshot(page: Page): DirtyPageBytes {
    page.seq = this.nextSeq(page)
    page.writing = true
    // Under a write pin the program may change bytes at any moment.
    page.changed = page.writePins > 0
    this.counters.writebacks++
    this.counters.bytesOut += page.pageSize
    return { file: page.file, page: page.index, epoch: page.epoch, seq: page.seq, bytes: page.frame!.bytes.slice() }
  }
}

function keyOf({ file, page, epoch, seq }: DirtyPageBytes | WritebackOutcome): string {
  return `${file}:${page}:${epoch}:${seq}`
}
