/** The client's half of the coherence protocol. Rule numbers are those of docs/coherence.md. */
import { assert, type Access, type ClientMessage, type LeaderMessage, type LostRange } from '@quire/protocol'
import type { AddressSpacePages, AddressSpacePagesInit } from './address-space.js'
import { DiscardedRanges } from './discarded-ranges.js'
import type { CoherenceEffect, CoherenceObserver } from './effects.js'
import { PageFaults } from './page-faults.js'
import type { FrameProvider } from './frames.js'
import { lostRanges } from './lost-ranges.js'
import { Demotions } from './demotions.js'
import { DroppedCopies } from './dropped-copies.js'
import type { Page, PageWaiter } from './page.js'
import { PageDurability } from './page-durability.js'
import { PageTable, type PageBackend } from './page-table.js'
import type { CoherenceCounters } from './stats.js'
import { Twins } from './twins.js'
import { WritebackQueue } from './writeback-queue.js'

export interface ConnectionTerms {
  readonly term: number
  readonly creditBytes: number
  readonly maxFaults: number
}

/** Twins take this part of the cache's size, besides its frames. */
const TWINS_SHARE = 16
/** The client reports dropped copies when they reach this size, or this part of its cache if that is less. */
const MAX_DROPPED_BYTES = 1024 * 1024
const DROPPED_SHARE = 4

/**
 * Gets pages for the page table from the cluster.
 *
 * It is pure: messages come in through `receive`, and go out through `effects`. Time comes in through `advance`. After
 * the observer's `output`, the driver calls `effects` and looks at `nextDeadline` before its turn ends.
 */
export class Coherence implements PageBackend {
  readonly table: PageTable
  private readonly twins: Twins
  private readonly writebacks: WritebackQueue
  private readonly durability: PageDurability
  private readonly demotions: Demotions
  private readonly discards: DiscardedRanges
  private readonly droppedCopies: DroppedCopies
  private readonly faults: PageFaults
  /** The leader's term on this connection; 0: not connected. */
  private term = 0
  private maxFaults = 0
  private output: CoherenceEffect[] = []
  /** The driver knows that there is output. */
  private isSignaled = false
  /** Milliseconds of the driver's clock at the last `advance`. */
  private now = 0

  constructor(
    frames: FrameProvider,
    readonly counters: CoherenceCounters,
    private readonly observer: CoherenceObserver
  ) {
    this.table = new PageTable(frames, this, counters)
    const drop = (page: Page) => this.durability.drop(page)
    const send = (lane: 'control' | 'bulk', message: ClientMessage) => this.send(lane, message)
    this.twins = new Twins(frames.capacityBytes / TWINS_SHARE)
    this.writebacks = new WritebackQueue({
      send: (message) => this.send('bulk', message),
      counters,
      twins: this.twins,
      nextSeq: (page) => this.nextSeq(page),
      hasDiffs: (page) => this.table.spaceOf(page).held.hasDiffs
    })
    this.durability = new PageDurability({
      table: this.table,
      writebacks: this.writebacks,
      twins: this.twins,
      written: (outcome) => this.observer.written(outcome),
      refused: (page) => this.demotions.writebackRefused(page),
      advanced: () => this.demotions.obeyAll()
    })
    this.demotions = new Demotions({
      table: this.table,
      writebacks: this.writebacks,
      counters,
      now: () => this.now,
      send,
      drop,
      onDeadline: () => this.signal()
    })
    this.discards = new DiscardedRanges({
      table: this.table,
      send: (message) => this.send('control', message),
      drop,
      onEnded: (file, error) => this.emit({ type: 'discard-ended', file, error })
    })
    this.droppedCopies = new DroppedCopies({
      maxBytes: Math.min(MAX_DROPPED_BYTES, frames.capacityBytes / DROPPED_SHARE),
      isHeld: (file, index) => {
        const page = this.table.page(file, index)
        return page !== undefined && (page.access !== 'invalid' || page.req !== 0)
      },
      send: (message) => this.send('control', message)
    })
    this.faults = new PageFaults({
      table: this.table,
      discards: this.discards,
      counters,
      now: () => this.now,
      send: (message) => this.send('control', message),
      onSent: (req, kind) => this.emit({ type: 'fault-sent', req, kind }),
      onDone: (req) => this.emit({ type: 'fault-done', req }),
      clean: (page) => this.durability.clean(page),
      released: (page) => this.released(page)
    })
  }

  /** Returns what the driver must carry out, in order, and forgets it. */
  effects(): CoherenceEffect[] {
    const output = this.output
    this.output = []
    this.isSignaled = false
    return output
  }

  private emit(effect: CoherenceEffect): void {
    this.output.push(effect)
    this.signal()
  }

  private signal(): void {
    if (this.isSignaled) return
    this.isSignaled = true
    this.observer.output()
  }

  get usedBytes(): number {
    return this.table.frames.usedBytes
  }

  /** The page table as it is, for checkers, which change and keep nothing of it. */
  *pages(): Iterable<Readonly<Page>> {
    for (const space of this.table.all()) yield* space.all()
  }

  // ---- time

  /** Sets the time. Demotions and pins whose time is over proceed. */
  advance(nowMs: number): void {
    this.now = nowMs
    this.demotions.timePassed()
    this.table.pins.timePassed(nowMs)
    this.writebacks.pump()
    this.table.pumpFaults()
  }

  /** When to call `advance` at the latest, in milliseconds; Infinity if no time is set. */
  get nextDeadline(): number {
    return Math.min(this.demotions.nextDeadline, this.table.pins.nextDeadline)
  }

  // ---- files

  addFile(init: AddressSpacePagesInit): AddressSpacePages {
    return this.table.add(init)
  }

  /** Drops the file's pages. The caller has flushed them. */
  removeFile(file: number, reason: Error): void {
    const space = this.table.space(file)
    if (space === undefined) return
    this.demotions.answerAll(space)
    this.discards.forget(space, reason)
    for (const page of space.all()) this.writebacks.refuse(page, reason)
    this.table.remove(file, reason)
    this.droppedCopies.forgetFile(file)
  }

  /** The leader has answered the close of a file that `removeFile` removed. */
  fileClosed(file: number): void {
    this.faults.closed(file)
    this.table.pumpFaults()
  }

  /** Fails every access and pin that waits in the file. Granted access and pins stay. */
  refuseWaiters(file: number, reason: Error): void {
    const space = this.table.space(file)
    if (space === undefined) return
    this.table.refuse(space, reason)
    this.emit({ type: 'discard-ended', file, error: reason })
  }

  /** Takes all access to the file's pages away. Bytes that are not durable stay: the leader may ask for them. */
  unmapFile(file: number): void {
    for (const page of [...(this.table.space(file)?.all() ?? [])]) {
      this.table.dropFault(page)
      page.invalidate()
      this.table.changed(page)
      this.table.forgetIfUnused(page)
    }
    // Demotions that waited for the grant of a dropped fault can proceed.
    this.demotions.obeyAll()
  }

  /** After a reconnection, the cluster says how many discards the file has had. */
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

  unpin(page: Page, access: Access, hasChanged?: boolean): void {
    this.table.unpin(page, access, hasChanged)
  }

  /** How many pages wait or are on their way, in faults and in writebacks. */
  get underWay(): number {
    return this.faults.count + this.table.queuedFaults + this.writebacks.count
  }

  /** Sets how many bytes may be on their way on bulk, and how many are. */
  limitBulk(windowBytes: number, unreceivedBytes: number): void {
    this.writebacks.limit(windowBytes, unreceivedBytes)
    // Pages that other clients wait for leave before pages of ordinary flushes.
    this.demotions.obeyAll()
    this.writebacks.pump()
  }

  /** Tries again what the leader refused or what found no frame. Call it now and then. */
  retry(): void {
    this.demotions.retry()
    this.table.retry()
  }

  /**
   * Calls `done` for each dirty page of the range when its current bytes are durable, or `fail` when their writeback
   * fails. Returns the number of dirty pages.
   */
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

  /**
   * Writes the range's dirty pages back, and calls `started` for each when its bytes have left. Returns their number.
   */
  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number {
    const dirty = (this.table.space(file)?.between(first, last + 1) ?? []).filter(
      (page) => page.dirty && !page.isUnderWay
    )
    for (const page of dirty) this.writebacks.enqueue(page, { started, fail })
    this.writebacks.pump()
    return dirty.length
  }

  // ---- connection

  /** This session is registered on a new connection. The core repeats everything that is unanswered (rule 15). */
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

  /**
   * Grants, orders and acknowledgments of the lost connection will never arrive. The leader repeats its orders on the
   * next connection.
   */
  disconnected(): void {
    this.term = 0
    this.faults.forget()
    this.table.suspend()
    this.demotions.forget()
    this.discards.disconnected()
    this.droppedCopies.forget()
    for (const page of this.pages() as Iterable<Page>) {
      page.writing = false
      this.table.changed(page)
    }
    this.writebacks.disconnected()
    this.output = this.output.filter((effect) => effect.type !== 'send')
  }

  /** The session is gone: everything fails with the error that `makeError` returns for the lost ranges. */
  sessionLost(makeError: (lost: readonly LostRange[]) => Error): void {
    this.disconnected()
    const error = makeError(lostRanges(this.table.all()))
    for (const { file } of [...this.table.all()]) this.removeFile(file, error)
    this.table.failStarved(error)
  }

  /**
   * Takes grants, orders and acknowledgments, and ignores other messages. Rule 3: it drops messages of a lower term.
   */
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
        this.durability.writebackAcknowledged(message)
        break
      case 'writebackFailed':
        this.durability.writebackFailed(message)
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

  beforeWrite(page: Page): void {
    if (page.epoch !== 0 && this.table.spaceOf(page).held.hasDiffs) this.twins.beforeWrite(page)
  }

  forgotten(page: Page): void {
    this.twins.forget(page)
  }

  dropped(page: Page): void {
    this.twins.forget(page)
    if (this.table.space(page.file)?.held.isDemotedAsWhole === false) this.droppedCopies.add(page)
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

  /** Returns the number of the writeback that leaves now, under the page's epoch. */
  private nextSeq(page: Page): number {
    const { file, index, epoch, pageSize } = page
    const space = this.table.spaceOf(page)
    const seq = space.held.nextSeq(space, page)
    this.observer.writing({ file, page: index, epoch, seq, pageSize })
    return seq
  }

  private send(lane: 'control' | 'bulk', message: ClientMessage): void {
    if (this.term !== 0) this.emit({ type: 'send', lane, message })
  }
}
