/**
 * The client's half of the coherence protocol: where the page tables get access from. Pure: messages come in through `receive`, messages go out
 * through `effects`. Rule numbers are those of docs/coherence.md.
 */
import {
  UnavailableError,
  assert,
  errorFromWire,
  type Access,
  type ClientMessage,
  type LeaderMessage,
  type LeaderMessageOf,
  type LostRange,
  type WritebackOutcome
} from '@quire/protocol'
import type { AddressSpacePages, AddressSpaceInit } from './address-space.js'
import { DiscardedRanges } from './discarded-ranges.js'
import { PageFaults, type FaultKind } from './page-faults.js'
import type { FrameProvider } from './frames.js'
import { lostRanges } from './lost-ranges.js'
import { Demotions } from './demotions.js'
import type { FlushWaiter, Page, PageWaiter } from './page.js'
import { PageTable } from './page-table.js'
import type { CoherenceCounters } from './stats.js'
import { WritebackQueue } from './writeback-queue.js'

export type { FaultKind } from './page-faults.js'

export type CoherenceEffect =
  | { readonly type: 'send'; readonly lane: 'control' | 'bulk'; readonly message: ClientMessage }
  | { readonly type: 'fault-sent'; readonly req: number; readonly kind: FaultKind }
  | { readonly type: 'fault-done'; readonly req: number }
  /** A discard is over: the file's size may be asked for. With an error, the file is given up. */
  | { readonly type: 'discard-ended'; readonly file: number; readonly error: Error | undefined }
  /** Bytes of a page leave to be made durable; and they are. */
  | {
      readonly type: 'writing'
      readonly file: number
      readonly page: number
      readonly epoch: number
      readonly seq: number
      readonly pageSize: number
    }
  | { readonly type: 'written'; readonly outcome: WritebackOutcome }

export interface ConnectionTerms {
  readonly term: number
  readonly creditBytes: number
  readonly maxFaults: number
}

export class Coherence {
  readonly table: PageTable
  private readonly writebacks: WritebackQueue
  private readonly demotions: Demotions
  private readonly discards: DiscardedRanges
  private readonly faults: PageFaults
  /** The leader's term on this connection; 0: not connected. */
  private term = 0
  private maxFaults = 0
  private output: CoherenceEffect[] = []
  /** Milliseconds of the driver's clock, as of its last call. */
  private now = 0

  constructor(
    frames: FrameProvider,
    readonly counters: CoherenceCounters
  ) {
    this.table = new PageTable(frames, this, counters)
    const drop = (page: Page) => this.drop(page)
    const send = (lane: 'control' | 'bulk', message: ClientMessage) => this.send(lane, message)
    this.writebacks = new WritebackQueue(
      (message) => this.send('bulk', message),
      counters,
      (page) => this.nextSeq(page)
    )
    this.demotions = new Demotions({
      table: this.table,
      writebacks: this.writebacks,
      counters,
      now: () => this.now,
      send,
      drop
    })
    this.discards = new DiscardedRanges({
      table: this.table,
      send: (message) => this.send('control', message),
      drop,
      onEnded: (file, error) => this.output.push({ type: 'discard-ended', file, error })
    })
    this.faults = new PageFaults({
      table: this.table,
      discards: this.discards,
      counters,
      now: () => this.now,
      send: (message) => this.send('control', message),
      onSent: (req, kind) => this.output.push({ type: 'fault-sent', req, kind }),
      onDone: (req) => this.output.push({ type: 'fault-done', req }),
      clean: (page) => this.clean(page),
      released: (page) => this.released(page)
    })
  }

  effects(): CoherenceEffect[] {
    const output = this.output
    this.output = []
    return output
  }

  get usedBytes(): number {
    return this.table.frames.usedBytes
  }

  /** The page table as it is, for checkers: look, change nothing, keep nothing. */
  *pages(): Iterable<Readonly<Page>> {
    for (const space of this.table.all()) yield* space.all()
  }

  // ---- time

  /** Tells the time. What was held back for a while goes on. */
  advance(nowMs: number): void {
    this.now = nowMs
    this.demotions.timePassed()
    this.table.pins.timePassed(nowMs)
    this.writebacks.pump()
    this.table.pumpFaults()
  }

  /** When to call `advance` next for want of anything else; Infinity: not at all. */
  get nextDeadline(): number {
    return Math.min(this.demotions.nextDeadline, this.table.pins.nextDeadline)
  }

  // ---- files

  addFile(init: AddressSpaceInit): AddressSpacePages {
    return this.table.add(init)
  }

  /** Drops the file's pages; the caller has flushed them. */
  removeFile(file: number, reason: Error): void {
    const space = this.table.space(file)
    if (space === undefined) return
    this.demotions.answerAll(space)
    this.discards.forget(space, reason)
    for (const page of space.all()) this.writebacks.refuse(page, reason)
    this.table.remove(file, reason)
  }

  /** The close of a file that was removed here is answered. */
  fileClosed(file: number): void {
    this.faults.closed(file)
    this.table.pumpFaults()
  }

  /** Fails everybody who waits for a page of the file; what is held stays. */
  refuseWaiters(file: number, reason: Error): void {
    const space = this.table.space(file)
    if (space === undefined) return
    this.table.refuse(space, reason)
    this.output.push({ type: 'discard-ended', file, error: reason })
  }

  /** Takes all access to the file's pages away. Bytes that are not durable stay, for the leader to ask for. */
  unmapFile(file: number): void {
    for (const page of [...(this.table.space(file)?.all() ?? [])]) {
      this.table.dropFault(page)
      page.invalidate()
      this.table.changed(page)
      this.table.forgetIfUnused(page)
    }
    // Some of them waited for grants that are not waited for any more.
    this.demotions.obeyAll()
  }

  /** What the cluster says of a file after a reconnection: how often it was shortened or punched. */
  resolveDiscard(file: number, discards: number): void {
    this.discards.resolve(file, discards)
    this.table.pumpFaults()
  }

  /** Files for which `resolveDiscard` is needed. */
  unresolvedDiscards(): number[] {
    return this.discards.unresolved()
  }

  // ---- access

  /** See `PageTable.access`. */
  access(file: number, index: number, waiter: PageWaiter): () => void {
    return this.table.access(file, index, waiter)
  }

  unpin(page: Page, access: Access): void {
    this.table.unpin(page, access)
  }

  /** Faults and writebacks that wait or are on their way. */
  get underWay(): number {
    return this.faults.count + this.table.queuedFaults + this.writebacks.count
  }

  /** How many bytes may be on their way on bulk, and how many are. */
  limitBulk(windowBytes: number, unreceivedBytes: number): void {
    this.writebacks.limit(windowBytes, unreceivedBytes)
    // Pages that others wait for leave before what is only flushed.
    this.demotions.obeyAll()
    this.writebacks.pump()
  }

  retry(): void {
    this.demotions.retry()
    this.table.retry()
  }

  /** Calls `done` for each dirty page of the range when what it holds now is durable; returns how many there are. */
  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    let count = 0
    for (const page of this.table.space(file)?.between(first, last + 1) ?? []) {
      if (!page.dirty) continue
      count++
      page.awaitFlush(done, fail)
      if (!page.isUnderWay) this.writebacks.enqueue(page)
    }
    this.writebacks.pump()
    return count
  }

  /** Begins to write the range's dirty pages back; `started` is called for each when its bytes have left. Returns how many there are. */
  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number {
    const dirty = (this.table.space(file)?.between(first, last + 1) ?? []).filter(
      (page) => page.dirty && !page.isUnderWay
    )
    for (const page of dirty) this.writebacks.enqueue(page, { started, fail })
    this.writebacks.pump()
    return dirty.length
  }

  // ---- connection

  /** A connection on which this session is registered. Everything unanswered is asked again (rule 15). */
  connected({ term, creditBytes, maxFaults }: ConnectionTerms): void {
    assert(this.term === 0, `connected at term ${term} while connected at term ${this.term}`)
    this.term = term
    this.maxFaults = maxFaults
    this.writebacks.connected(creditBytes)
    this.table.resume()
    for (const page of this.pages() as Iterable<Page>) {
      const given = page.access === 'invalid' && page.dirty
      if (page.dirty && !page.writing && (given || page.flushes.length > 0)) this.writebacks.enqueue(page)
    }
    this.writebacks.pump()
  }

  /** Grants, orders and acknowledgements of the lost connection will never arrive; the leader repeats its orders on the next. */
  disconnected(): void {
    this.term = 0
    this.faults.forget()
    this.table.suspend()
    this.demotions.forget()
    this.discards.disconnected()
    for (const page of this.pages() as Iterable<Page>) {
      page.writing = false
      this.table.changed(page)
    }
    this.writebacks.disconnected()
    this.output = this.output.filter((effect) => effect.type !== 'send')
  }

  /** The session is gone: everything fails with `makeError`'s error, which names what was lost. */
  sessionLost(makeError: (lost: readonly LostRange[]) => Error): void {
    this.disconnected()
    const error = makeError(lostRanges(this.table.all()))
    for (const { file } of [...this.table.all()]) this.removeFile(file, error)
    this.table.failStarved(error)
  }

  /** Takes grants, orders and acknowledgements; other messages are not for it. Rule 3: a lower term is dropped unanswered. */
  receive(message: LeaderMessage): void {
    if (this.term === 0 || !('term' in message) || message.term !== this.term) return
    switch (message.type) {
      case 'grant':
        this.faults.granted(message)
        break
      case 'faultFailed':
        this.faults.failed(message)
        break
      case 'invalidate':
      case 'revoke':
      case 'downgrade':
        this.demotions.receive(message)
        break
      case 'discard':
        this.discards.receive(message)
        break
      case 'discarded':
        this.discards.over(message)
        break
      case 'writebackAck':
        this.writebackAcked(message)
        break
      case 'writebackFailed':
        this.writebackFailed(message)
        break
      default:
        return
    }
    this.writebacks.pump()
    this.table.pumpFaults()
  }

  // ---- the page table's backend

  get canFault(): boolean {
    return this.term !== 0 && this.faults.count < this.maxFaults
  }

  fault(page: Page, wanted: Access): void {
    this.faults.ask(page, wanted)
  }

  dropFault(page: Page): void {
    this.faults.drop(page)
  }

  writeBack(pages: readonly Page[]): void {
    for (const page of pages) this.writebacks.enqueue(page)
    this.writebacks.pump()
  }

  released(page: Page): void {
    this.demotions.obey(page)
    const space = this.table.space(page.file)
    if (space?.discard !== undefined) this.discards.advance(space)
  }

  // ---- writebacks

  private writebackAcked(message: LeaderMessageOf<'writebackAck'>): void {
    if (message.req !== 0 && this.writebacks.answered(message.req) === undefined) return
    for (const outcome of message.pages) {
      if (message.req === 0) this.writebacks.givenAcknowledged(outcome)
      // Stale, to a live session, means that they are durable already (rule 14).
      this.output.push({ type: 'written', outcome })
      const page = this.table.page(outcome.file, outcome.page)
      if (page !== undefined && page.epoch === outcome.epoch) this.pageWritten(page, outcome)
    }
    this.demotions.obeyAll()
  }

  private pageWritten(page: Page, outcome: WritebackOutcome): void {
    if (outcome.stale && outcome.seq === page.seq) {
      // Rule 14: to a live session, a stale epoch means that these bytes are committed: they left with a handover.
      this.drop(page)
    } else {
      // An older writeback can be stale because a newer one overtook it, and says nothing of what was written since.
      this.resolveFlushes(page, (flush) => flush.seq <= outcome.seq)
      if (outcome.seq === page.seq) {
        page.writing = false
        page.version = outcome.version
        if (!page.changed) page.dirty = false
      }
      // A grant on its way may be older than these bytes: the epoch tells.
      if (page.access === 'invalid' && !page.dirty && page.req === 0) page.epoch = 0
    }
    this.table.changed(page)
    this.table.forgetIfUnused(page)
  }

  private writebackFailed(message: LeaderMessageOf<'writebackFailed'>): void {
    const flights = this.writebacks.answered(message.req)
    if (flights === undefined) return
    const error = errorFromWire(message.error)
    for (const { page, epoch, seq } of flights) {
      // Whoever must give up the whole file tries again, but not at once: see `retry`.
      const space = this.table.space(page.file)
      if (space?.demotion !== undefined) space.isRefused = true
      // Under another epoch the page has come anew: what waits there is not about these bytes.
      if (page.epoch !== epoch) continue
      // A failed flush never gives the page up: it stays dirty, and the caller of msync hears of it. A newer one is on its own.
      if (page.seq === seq) page.writing = false
      for (const flush of page.flushes.splice(0)) {
        if (flush.seq <= seq) flush.fail(error)
        else page.flushes.push(flush)
      }
      this.table.changed(page)
    }
    this.demotions.obeyAll()
    // A leader that is only busy is asked again, by `retry`.
    if (!(error instanceof UnavailableError)) this.table.failStarved(error)
  }

  private resolveFlushes(page: Page, isDone: (flush: FlushWaiter) => boolean): void {
    if (page.flushes.length === 0) return
    const waiting = page.flushes.splice(0)
    for (const flush of waiting) {
      if (flush.epoch !== page.epoch || isDone(flush)) flush.done()
      else page.flushes.push(flush)
    }
  }

  /** Bytes of the page are taken: the number of this writeback under the page's epoch. */
  private nextSeq(page: Page): number {
    const { file, index, epoch, pageSize } = page
    const space = this.table.space(file)
    const seq = space?.unit === 'file' ? ++space.seq : page.seq + 1
    this.output.push({ type: 'writing', file, page: index, epoch, seq, pageSize })
    return seq
  }

  // ---- dropping

  private clean(page: Page): void {
    this.resolveFlushes(page, () => true)
    page.dirty = false
    page.changed = false
    page.writing = false
  }

  private drop(page: Page): void {
    page.invalidate()
    this.clean(page)
    page.epoch = 0
    page.version = 0
    this.table.changed(page)
  }

  private send(lane: 'control' | 'bulk', message: ClientMessage): void {
    if (this.term !== 0) this.output.push({ type: 'send', lane, message })
  }
}
