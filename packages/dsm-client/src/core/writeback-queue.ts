/** Dirty pages on their way to the leader. */
import {
  MAX_BULK_PAYLOAD_BYTES,
  MAX_WRITEBACK_PAGES,
  bulkRunBytes,
  type ClientMessage,
  type DirtyPageBytes,
  type PageDiff,
  type PageWrite,
  type WritebackOutcome
} from '@quire/protocol'
import type { CoherenceCounters } from './stats.js'
import type { Page } from './page.js'
import type { Twins } from './twins.js'

/** The queue divides the pages that wait into this many batches. Each batch keeps the limits of its size. */
const BATCHES = 4
const MIN_BATCH_BYTES = 64 * 1024

/** A page's bytes on their way: writeback `seq` of `epoch`. */
export interface Flight {
  readonly page: Page
  readonly epoch: number
  readonly seq: number
}

export interface WritebackQueueInit {
  readonly send: (message: ClientMessage) => void
  readonly counters: CoherenceCounters
  readonly twins: Twins
  /** Returns the number of the page's next writeback under its epoch. */
  readonly nextSeq: (page: Page) => number
  /** See `HeldUnit.hasDiffs`. */
  readonly hasDiffs: (page: Page) => boolean
}

/** Waits for the bytes of a page to leave. The queue calls exactly one of its functions. */
export interface StartWaiter {
  started(): void
  fail(error: Error): void
}

/**
 * Sends dirty pages to the leader in batches that fill a bulk frame.
 *
 * Unacknowledged bytes stay within the leader's credit. Unreceived bytes stay within twice what the line carries. The
 * queue copies a page's bytes when they leave, so the program may write to the page meanwhile. An acknowledgment
 * cleans only the version that it names (rule 14).
 */
export class WritebackQueue {
  /** Pages in the order in which they leave. Entries of pages that left earlier as urgent are skipped. */
  private readonly queue: Page[] = []
  private readonly urgent = new Set<Page>()
  private readonly flying = new Map<number, { readonly flights: readonly Flight[]; readonly bytes: number }>()
  /** Bytes that left as the answer to a demotion, by writeback. */
  private readonly given = new Map<string, number>()
  private flyingBytes = 0
  private creditBytes = 0
  /** Bytes that the line carries in a short time. */
  private windowBytes = Infinity
  /** Bytes that the leader has not reported as received. */
  private unreceivedBytes = 0
  private nextReq = 1
  private readonly waiting = new Map<Page, StartWaiter[]>()

  constructor(private readonly init: WritebackQueueInit) {}

  /** Another client waits for the page: it leaves before pages of ordinary flushes. */
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

  /** The page's bytes have left, or need not leave. */
  started(page: Page): void {
    for (const waiter of this.takeWaiting(page)) waiter.started()
  }

  /** The client gives the page up: its bytes will not leave. */
  refuse(page: Page, reason: Error): void {
    for (const waiter of this.takeWaiting(page)) waiter.fail(reason)
  }

  private takeWaiting(page: Page): readonly StartWaiter[] {
    const waiting = this.waiting.get(page) ?? []
    this.waiting.delete(page)
    return waiting
  }

  /** Whether the page may leave now as the answer to a demotion. */
  hasCredit(page: Page): boolean {
    return this.mayLeave(page.pageSize, true)
  }

  /**
   * The leader's credit bounds the unacknowledged bytes. The line bounds only the bytes that the leader has not
   * received: as many as the line carries, and as many again behind them. Other pages wait here, where an urgent page
   * can still overtake them. Bytes that the leader is committing do not count against the line: otherwise its window
   * would never fill, and so never grow.
   *
   * A single page leaves in spite of a small credit if nothing is unacknowledged, and in spite of a thin line if
   * nothing is unreceived. The two conditions are separate: an unacknowledged page may itself wait for a page that is
   * still here.
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

  /** Returns the page's bytes as the answer to a demotion. They count until the leader acknowledges them. */
  give(page: Page): DirtyPageBytes {
    const dirty = { ...this.nextWriteback(page), bytes: this.snapshot(page) }
    this.countLeft(page.pageSize)
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

  /** Bytes on their way may have arrived or not: the page leaves again with the bytes that it has then (rule 15). */
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
      const maxBytes = Math.min(this.batchBytes, bulkRunBytes(this.windowBytes))
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
      const taken = pages.map((page) => this.write(page))
      const takenBytes = taken.reduce((sum, each) => sum + each.bytes.length, 0)
      const flights = pages.map((page) => ({ page, epoch: page.epoch, seq: page.seq }))
      this.flying.set(req, { flights, bytes: takenBytes })
      this.flyingBytes += takenBytes
      this.unreceivedBytes += takenBytes
      this.init.send({ type: 'writeback', req, pages: taken })
      for (const page of pages) this.started(page)
    }
  }

  /** A part of what waits, so that several batches are under way at once: each waits for a commit. */
  private get batchBytes(): number {
    const waitingBytes = this.queue.length * (this.queue[0]?.pageSize ?? 0)
    return Math.min(MAX_BULK_PAYLOAD_BYTES, Math.max(MIN_BATCH_BYTES, waitingBytes / BATCHES))
  }

  /** Pages that wait or are on their way. */
  get count(): number {
    let flying = this.given.size
    for (const { flights } of this.flying.values()) flying += flights.length
    return this.queue.length + flying
  }

  private get next(): Page | undefined {
    for (const page of this.urgent) return page
    while (this.queue[0]?.queuedForWrite === false) this.queue.shift()
    return this.queue[0]
  }

  /** The leader has answered a writeback: its credit comes back. Returns undefined if it is not of this connection. */
  answered(req: number): readonly Flight[] | undefined {
    const flying = this.flying.get(req)
    if (flying === undefined) return undefined
    this.flying.delete(req)
    this.flyingBytes -= flying.bytes
    return flying.flights
  }

  /** The page's newest writeback: what has changed since the one before, or the whole page. */
  private write(page: Page): PageWrite {
    const { twins, counters, hasDiffs } = this.init
    const bytes = this.snapshot(page)
    if (!hasDiffs(page)) {
      this.countLeft(bytes.length)
      return { ...this.nextWriteback(page), bytes }
    }
    // The twin has the sequence that the page had until now.
    const diff = twins.diff(page, bytes)
    const head = this.nextWriteback(page)
    twins.sent(page, bytes)
    const change: PageDiff | { readonly bytes: Uint8Array } = diff ?? { bytes }
    if (diff !== undefined) counters.diffs++
    this.countLeft(change.bytes.length)
    return { ...head, ...change }
  }

  /** Copies the page's bytes. Nobody changes the copy. */
  private snapshot(page: Page): Uint8Array {
    return page.frame!.bytes.slice()
  }

  /** Its bytes have been copied. */
  private nextWriteback(page: Page): Omit<DirtyPageBytes, 'bytes'> {
    page.seq = this.init.nextSeq(page)
    page.writing = true
    // A write pin lets the program change bytes at any moment.
    page.changed = page.writePins > 0
    return { file: page.file, page: page.index, epoch: page.epoch, seq: page.seq }
  }

  private countLeft(bytes: number): void {
    this.init.counters.writebacks++
    this.init.counters.bytesOut += bytes
  }
}

function keyOf({ file, page, epoch, seq }: DirtyPageBytes | WritebackOutcome): string {
  return `${file}:${page}:${epoch}:${seq}`
}
