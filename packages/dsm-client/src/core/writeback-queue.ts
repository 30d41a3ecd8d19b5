/** Dirty pages on their way to the leader. */
import {
  MAX_BULK_PAYLOAD_BYTES,
  MAX_WRITEBACK_PAGES,
  bulkRunBytes,
  wireBytesOf,
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
const MIN_BATCH_PAGES = 16
/** The encoding of a page's fields takes at most so many bytes. */
const FIELDS_BYTES = 32

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

/** The pages of one message. */
interface Batch {
  readonly pages: Page[]
  readonly writes: PageWrite[]
  /** The sizes of the pages. */
  creditBytes: number
  /** What the line has to carry. */
  lineBytes: number
}

/** What the program has changed in a page since the page's last writeback. */
interface Change {
  /** A copy of the whole page. */
  readonly bytes: Uint8Array
  readonly diff: PageDiff
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

  /** Whether the page may leave now, whole, as the answer to a demotion. */
  hasCredit(page: Page): boolean {
    return this.isInCredit(page.pageSize, true) && this.isOnLine(page.pageSize, true)
  }

  /**
   * The leader's credit bounds the pages in unacknowledged writebacks. Each counts with its whole size, because each
   * peer writes that much. A single page leaves in spite of a small credit if nothing is unacknowledged.
   */
  private isInCredit(bytes: number, isOnePage: boolean): boolean {
    return this.flyingBytes + bytes <= this.creditBytes || (isOnePage && this.flyingBytes === 0)
  }

  /**
   * The line bounds the bytes that the leader has not received: as many as the line carries, and as many again behind
   * them. Other pages wait here, where an urgent page can still overtake them. Bytes that the leader is committing do
   * not count against the line: otherwise its window would never fill, and so never grow.
   *
   * A single page leaves in spite of a thin line if nothing is unreceived. This condition is separate from that of the
   * credit: an unacknowledged page may itself wait for a page that is still here.
   */
  private isOnLine(bytes: number, isOnePage: boolean): boolean {
    return this.unreceivedBytes + bytes <= 2 * this.windowBytes || (isOnePage && this.unreceivedBytes === 0)
  }

  limit(windowBytes: number, unreceivedBytes: number): void {
    this.windowBytes = windowBytes
    this.unreceivedBytes = unreceivedBytes
  }

  /**
   * Returns the page, or what has changed in it, as the answer to a demotion. It counts until the leader
   * acknowledges it.
   */
  give(page: Page): PageWrite {
    const change = this.changeOf(page)
    const given = this.write(page, change)
    this.given.set(keyOf(given), page.pageSize)
    this.flyingBytes += page.pageSize
    this.unreceivedBytes += sizeOf(change?.diff, page)
    return given
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
      const { pages, writes, creditBytes, lineBytes } = this.takeBatch()
      if (pages.length === 0) return
      const req = this.nextReq++
      const flights = pages.map((page) => ({ page, epoch: page.epoch, seq: page.seq }))
      this.flying.set(req, { flights, bytes: creditBytes })
      this.flyingBytes += creditBytes
      this.unreceivedBytes += lineBytes
      this.init.send({ type: 'writeback', req, pages: writes })
      for (const page of pages) this.started(page)
    }
  }

  /** Takes pages from the queue that may leave now in one message. */
  private takeBatch(): Batch {
    const batch: Batch = { pages: [], writes: [], creditBytes: 0, lineBytes: 0 }
    const { maxPages } = this
    const maxBytes = Math.min(this.maxBatchBytes, bulkRunBytes(this.windowBytes))
    while (batch.pages.length < maxPages) {
      const page = this.next
      if (page === undefined) break
      if (!page.dirty) {
        this.take(page)
        this.started(page)
        continue
      }
      const isFirst = batch.pages.length === 0
      if (!this.isInCredit(batch.creditBytes + page.pageSize, isFirst)) break
      const change = this.changeOf(page)
      const total = batch.lineBytes + sizeOf(change?.diff, page)
      if (!(isFirst || total <= maxBytes) || !this.isOnLine(total, isFirst)) break
      this.take(page)
      batch.pages.push(page)
      batch.writes.push(this.write(page, change))
      batch.creditBytes += page.pageSize
      batch.lineBytes = total
    }
    return batch
  }

  private take(page: Page): void {
    if (!this.urgent.delete(page)) this.queue.shift()
    page.queuedForWrite = false
  }

  /** A part of what waits, so that several batches are under way at once: each waits for a commit. */
  private get maxPages(): number {
    return Math.min(MAX_WRITEBACK_PAGES, Math.max(MIN_BATCH_PAGES, Math.ceil(this.queue.length / BATCHES)))
  }

  private get maxBatchBytes(): number {
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

  /** Compares the page with its twin. Returns undefined if the page must leave whole. */
  private changeOf(page: Page): Change | undefined {
    if (!this.init.twins.hasBase(page)) return undefined
    const bytes = this.snapshot(page)
    const diff = this.init.twins.diff(page, bytes)
    return diff && { bytes, diff }
  }

  /** Makes the page's newest writeback. */
  private write(page: Page, change: Change | undefined): PageWrite {
    const { twins, counters, hasDiffs } = this.init
    const bytes = change?.bytes ?? this.snapshot(page)
    const head = this.nextWriteback(page)
    if (hasDiffs(page)) twins.sent(page, bytes)
    if (change !== undefined) counters.diffs++
    const sent = change?.diff ?? { bytes }
    this.countLeft(sent.bytes.length)
    return { ...head, ...sent }
  }

  /** Copies the page's bytes. Nobody changes the copy. The program's next write to the page goes through the table. */
  private snapshot(page: Page): Uint8Array {
    page.writeProtect()
    return page.frame!.bytes.slice()
  }

  /** Call it when the bytes are copied: what the program writes from now on belongs to the next writeback. */
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

function sizeOf(diff: PageDiff | undefined, page: Page): number {
  if (diff === undefined) return page.pageSize
  return FIELDS_BYTES + wireBytesOf(diff)
}

function keyOf({ file, page, epoch, seq }: PageWrite | WritebackOutcome): string {
  return `${file}:${page}:${epoch}:${seq}`
}
