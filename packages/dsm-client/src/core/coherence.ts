/**
 * The client's half of the coherence protocol: page tables, faults, and what the leader asks of pages. Pure: messages come in
 * through `receive`, messages go out through `effects`. Rule numbers are those of docs/coherence.md.
 */
import {
  CacheFullError,
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
import { AddressSpacePages, ResidentPages } from './address-space.js'
import type { FrameProvider } from './frames.js'
import type { FlushWaiter, Order, Page, PageWaiter } from './page.js'
import type { CoherenceCounters } from './stats.js'
import { Writebacks } from './writeback.js'

export type FaultKind = 'read' | 'write' | 'upgrade'

export type CoherenceEffect =
  | { readonly type: 'send'; readonly lane: 'control' | 'bulk'; readonly message: ClientMessage }
  | { readonly type: 'fault-sent'; readonly req: number; readonly kind: FaultKind }
  | { readonly type: 'fault-done'; readonly req: number }

/** Dirty pages that are written back together when frames run out. */
const RECLAIM_BATCH = 64

export interface ConnectionTerms {
  readonly term: number
  readonly creditBytes: number
  readonly maxFaults: number
}

export class Coherence {
  private readonly spaces = new Map<number, AddressSpacePages>()
  private readonly resident: ResidentPages
  private readonly writebacks: Writebacks
  /** The leader's term on this connection; 0: not connected. */
  private term = 0
  private maxFaults = 0
  private nextReq = 1
  private readonly faults = new Map<number, Page>()
  /** Faults that wait for a frame or for an earlier fault to end. */
  private faultQueue: Page[] = []
  /** No frame could be found, and nothing has happened since that could have changed this. */
  private starved = false
  /** Pages with somebody waiting. */
  private readonly wanted = new Set<Page>()
  private readonly ordered = new Set<Page>()
  private output: CoherenceEffect[] = []

  constructor(
    frames: FrameProvider,
    readonly counters: CoherenceCounters
  ) {
    this.resident = new ResidentPages(frames)
    this.writebacks = new Writebacks((message) => this.send('bulk', message), this.counters)
  }

  effects(): CoherenceEffect[] {
    const output = this.output
    this.output = []
    return output
  }

  get usedBytes(): number {
    return this.resident.usedBytes
  }

  /** The page table as it is, for checkers: look, change nothing, keep nothing. */
  *pages(): Iterable<Readonly<Page>> {
    for (const space of this.spaces.values()) yield* space.all()
  }

  // ---- files

  addFile(file: number, path: string, pageSize: number): void {
    if (!this.spaces.has(file)) this.spaces.set(file, new AddressSpacePages(file, path, pageSize))
  }

  /** Drops the file's pages; the caller has flushed them. */
  removeFile(file: number, reason: Error): void {
    const space = this.spaces.get(file)
    if (space === undefined) return
    this.spaces.delete(file)
    for (const page of space.all()) this.kill(page, reason)
    this.pumpFaults()
  }

  /** Fails everybody who waits for a page of the file; what is held stays. */
  refuseWaiters(file: number, reason: Error): void {
    for (const page of this.spaces.get(file)?.all() ?? []) this.failWaiters(page, reason)
  }

  /** Takes all access to the file's pages away. Bytes that are not durable stay, for the leader to ask for. */
  unmapFile(file: number): void {
    for (const page of this.spaces.get(file)?.all() ?? []) {
      this.dropFault(page)
      page.access = 'invalid'
      this.update(page)
      this.forgetIfUnused(page)
    }
  }

  // ---- access

  /**
   * Runs `waiter` with access to the page: at once if the page table allows it, else after a fault. Returns a function that
   * withdraws the waiter if it did not run yet; others that wait for the same page go on.
   */
  access(file: number, index: number, waiter: PageWaiter): () => void {
    const space = this.spaces.get(file)
    assert(space !== undefined, `access to file ${file}, which is not open`)
    const page = space.getOrCreate(index)
    if (page.allows(waiter.access) && !(waiter.pin && page.order !== undefined)) {
      this.counters.hits++
      this.run(page, waiter)
      return () => {}
    }
    page.waiters.push(waiter)
    this.wanted.add(page)
    this.requestAccess(page)
    this.update(page)
    this.forgetIfUnused(page)
    return () => this.withdraw(page, waiter)
  }

  /** Ends a pin; `page` is what its waiter was run with. */
  unpin(page: Page, access: Access): void {
    if (access === 'write') page.writePins--
    else page.readPins--
    assert(page.readPins >= 0 && page.writePins >= 0, `page ${page.file}:${page.index} was unpinned once too often`)
    if (this.spaces.get(page.file)?.get(page.index) !== page) {
      // Its file was given up meanwhile, or its session lost: all that was left is the frame.
      if (!page.pinned) this.release(page)
      return this.pumpFaults()
    }
    if (access === 'write') this.markDirty(page)
    this.update(page)
    this.obey(page)
    this.pumpFaults()
  }

  /** Looks for frames again after the leader had no room for what must be written back first. Call it now and then. */
  retry(): void {
    this.starved = false
    this.pumpFaults()
  }

  /** Calls `done` for each dirty page of the range when what it holds now is durable; returns how many there are. */
  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    const space = this.spaces.get(file)
    if (space === undefined) return 0
    let count = 0
    for (const page of space.between(first, last)) {
      if (!page.dirty) continue
      count++
      const underWay = page.writing && !page.changed
      page.flushes.push({ epoch: page.epoch, seq: underWay ? page.seq : page.seq + 1, done, fail })
      if (!underWay) this.writebacks.enqueue(page)
    }
    this.writebacks.pump()
    return count
  }

  // ---- connection

  /** A connection on which this session is registered. Everything unanswered is asked again (rule 15). */
  connected({ term, creditBytes, maxFaults }: ConnectionTerms): void {
    assert(this.term === 0, `connected at term ${term} while connected at term ${this.term}`)
    this.term = term
    this.maxFaults = maxFaults
    this.writebacks.connected(creditBytes)
    for (const page of [...this.wanted]) this.requestAccess(page)
    for (const space of this.spaces.values()) {
      for (const page of space.all()) {
        const given = page.access === 'invalid' && page.dirty
        if (page.dirty && !page.writing && (given || page.flushes.length > 0)) this.writebacks.enqueue(page)
      }
    }
    this.writebacks.pump()
  }

  /** Grants, orders and acknowledgements of the lost connection will never arrive; the leader repeats its orders on the next. */
  disconnected(): void {
    this.term = 0
    for (const [req, page] of this.faults) {
      page.req = 0
      this.output.push({ type: 'fault-done', req })
    }
    this.faults.clear()
    for (const page of this.faultQueue) page.queuedForFault = false
    this.faultQueue = []
    for (const page of this.ordered) page.order = undefined
    this.ordered.clear()
    for (const space of this.spaces.values()) {
      for (const page of space.all()) {
        page.writing = false
        this.update(page)
      }
    }
    this.writebacks.disconnected()
    this.output = this.output.filter((effect) => effect.type !== 'send')
  }

  /** The session is gone: everything fails with `makeError`'s error, which names what was lost. */
  sessionLost(makeError: (lost: readonly LostRange[]) => Error): void {
    this.disconnected()
    const error = makeError(this.lostRanges())
    for (const file of [...this.spaces.keys()]) this.removeFile(file, error)
    this.wanted.clear()
  }

  /** Takes grants, orders and acknowledgements; other messages are not for it. Rule 3: a lower term is dropped unanswered. */
  receive(message: LeaderMessage): void {
    if (this.term === 0 || !('term' in message) || message.term !== this.term) return
    switch (message.type) {
      case 'grant':
        this.granted(message)
        break
      case 'faultFailed':
        this.faultFailed(message)
        break
      case 'invalidate':
      case 'revoke':
      case 'downgrade':
        this.receiveOrder(message)
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
    this.pumpFaults()
  }

  // ---- faults

  private requestAccess(page: Page): void {
    if (this.term === 0 || page.req !== 0 || page.queuedForFault || page.waiters.length === 0) return
    const access: Access = page.waiters.some((waiter) => waiter.access === 'write') ? 'write' : 'read'
    // Access is there, but the leader wants the page first: when it has had it, this comes again.
    if (page.allows(access)) return
    const mustWait = this.faults.size >= this.maxFaults || (this.starved && page.frame === undefined)
    if (mustWait || !this.place(page)) {
      if (page.waiters.length === 0) return
      page.queuedForFault = true
      this.faultQueue.push(page)
      return
    }
    const held = page.access !== 'invalid'
    const req = this.nextReq++
    page.req = req
    this.faults.set(req, page)
    const kind: FaultKind = access === 'read' ? 'read' : held ? 'upgrade' : 'write'
    this.counters[`${kind}Faults`]++
    this.output.push({ type: 'fault-sent', req, kind })
    this.send('control', {
      type: 'fault',
      req,
      file: page.file,
      page: page.index,
      access,
      have: held ? page.version : 0
    })
  }

  /** A frame is found before the fault is sent, so that a grant always has a place to go. */
  private place(page: Page): boolean {
    const space = this.spaces.get(page.file)!
    if (this.resident.place(page, space, (victim) => this.evict(victim))) return true
    if (this.resident.allPinned) {
      this.failWaiters(page, new CacheFullError(this.resident.capacityBytes))
      return false
    }
    this.writeBackSome()
    this.starved = true
    return false
  }

  private writeBackSome(): void {
    for (const page of this.resident.takeDirty(RECLAIM_BATCH)) this.writebacks.enqueue(page)
    this.writebacks.pump()
  }

  /** The page's state has changed in a way that matters to whoever looks for a frame. */
  private update(page: Page): void {
    if (this.resident.changed(page)) this.starved = false
  }

  private pumpFaults(): void {
    for (let count = this.faultQueue.length; count > 0 && this.faults.size < this.maxFaults; count--) {
      const page = this.faultQueue.shift()
      if (page === undefined) return
      page.queuedForFault = false
      // A page that has a frame goes on also while others wait for one.
      this.requestAccess(page)
      this.forgetIfUnused(page)
    }
  }

  private granted(message: LeaderMessageOf<'grant'>): void {
    const page = this.takeFault(message.req)
    if (page === undefined) return
    this.counters.grants++
    // Rule 13: bytes that this session wrote under the same epoch are newer than what the cluster has, or than what it had when
    // it made the grant: the acknowledgement of a writeback, on the other lane, may have overtaken it.
    const sameEpoch = message.owner && page.epoch === message.epoch
    const ownNewer = sameEpoch && (page.dirty || page.version > message.version)
    if (!ownNewer) {
      if (message.bytes === undefined && (page.access === 'invalid' || page.version !== message.version)) {
        // It names a copy that is not here: ask for the bytes.
        if (!page.pinned) page.access = 'invalid'
        this.requestAccess(page)
        this.obey(page)
        this.update(page)
        return this.forgetIfUnused(page)
      }
      if (message.bytes !== undefined) this.fill(page, message.bytes)
      page.version = message.version
      this.settleFlushes(page, () => true)
      page.dirty = false
      page.changed = false
      page.writing = false
    }
    // The state machine takes only newer writebacks, and this entry may have been dropped and made anew under one epoch.
    page.seq = page.epoch === message.epoch ? Math.max(page.seq, message.seq) : message.seq
    page.epoch = message.epoch
    page.access = message.access === 'write' ? 'modified' : 'shared'
    // Whoever waits now is served before the page can be taken away again: a grant is always used.
    for (const waiter of [...page.waiters]) if (page.allows(waiter.access)) this.serve(page, waiter)
    this.obey(page)
    this.requestAccess(page)
    this.update(page)
  }

  private fill(page: Page, bytes: Uint8Array): void {
    assert(
      bytes.length === 0 || bytes.length === page.pageSize,
      `a grant of ${bytes.length} bytes for a page of ${page.pageSize}`
    )
    const target = page.frame!.bytes
    if (bytes.length === 0) target.fill(0)
    else target.set(bytes)
    this.counters.bytesIn += bytes.length
  }

  private faultFailed(message: LeaderMessageOf<'faultFailed'>): void {
    const page = this.takeFault(message.req)
    if (page === undefined) return
    this.failWaiters(page, errorFromWire(message.error))
    this.obey(page)
    this.update(page)
    this.forgetIfUnused(page)
  }

  private takeFault(req: number): Page | undefined {
    const page = this.faults.get(req)
    if (page === undefined) return undefined
    this.faults.delete(req)
    page.req = 0
    this.output.push({ type: 'fault-done', req })
    return page
  }

  private serve(page: Page, waiter: PageWaiter): void {
    page.waiters.splice(page.waiters.indexOf(waiter), 1)
    if (page.waiters.length === 0) this.wanted.delete(page)
    this.run(page, waiter)
  }

  private run(page: Page, waiter: PageWaiter): void {
    page.accessed = true
    if (waiter.access === 'write') this.markDirty(page)
    if (waiter.pin) {
      if (waiter.access === 'write') page.writePins++
      else page.readPins++
    }
    waiter.run(page.frame!.bytes, page)
    this.update(page)
    // Begun before frames run out, so that nobody has to wait for it (kernel: dirty_background_ratio).
    if (this.resident.isMostlyDirty) this.writeBackSome()
  }

  private markDirty(page: Page): void {
    page.dirty = true
    page.changed = true
  }

  private withdraw(page: Page, waiter: PageWaiter): void {
    const at = page.waiters.indexOf(waiter)
    if (at < 0) return
    page.waiters.splice(at, 1)
    if (page.waiters.length === 0) this.wanted.delete(page)
    this.update(page)
    this.forgetIfUnused(page)
  }

  private failWaiters(page: Page, error: Error): void {
    this.wanted.delete(page)
    for (const waiter of page.waiters.splice(0)) waiter.fail(error)
  }

  // ---- orders

  private receiveOrder(message: LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>): void {
    const { type, op, after } = message
    const page = this.spaces.get(message.file)?.get(message.page)
    if (page === undefined) return this.answerUnheld({ type, op, after }, message.file, message.page)
    page.order = { type, op, after }
    this.ordered.add(page)
    this.obey(page)
  }

  private answerUnheld(order: Order, file: number, page: number): void {
    const { op } = order
    if (order.type === 'invalidate') this.send('control', { type: 'invalidateAck', op, file, page })
    else this.send('control', { type: 'ownerAck', op, file, page, held: false })
  }

  /** Does what the leader asked of the page, unless a grant that precedes it is still to come or a pin holds the page. */
  private obey(page: Page): void {
    const { order } = page
    if (order === undefined) return
    if (page.req !== 0 && page.req === order.after) return
    if (order.type === 'downgrade' ? page.writePins > 0 : page.pinned) return
    // Many orders at once must not put more bytes on their way than the leader gave credit for.
    if (order.type !== 'invalidate' && page.dirty && !this.writebacks.hasCredit(page)) return
    page.order = undefined
    this.ordered.delete(page)
    if (order.type === 'invalidate') this.invalidate(page, order)
    else this.giveUp(page, order)
    // Served from what the page table still allows (after a downgrade), or by a new fault.
    for (const waiter of [...page.waiters]) if (page.allows(waiter.access)) this.serve(page, waiter)
    this.requestAccess(page)
    this.update(page)
    this.forgetIfUnused(page)
  }

  // Rule 13: an invalidation drops everything, then acknowledges.
  private invalidate(page: Page, order: Order): void {
    this.counters.invalidations++
    this.drop(page)
    this.send('control', { type: 'invalidateAck', op: order.op, file: page.file, page: page.index })
  }

  // Rule 12: access goes first, then the bytes leave; they stay here, tagged with their epoch, until they are known to be durable.
  private giveUp(page: Page, order: Order): void {
    const { file, index } = page
    const held = page.access !== 'invalid'
    if (order.type === 'revoke') {
      if (held) this.counters.handovers++
      page.access = 'invalid'
    } else if (held) {
      this.counters.downgrades++
      page.access = 'shared'
    }
    if (page.dirty) {
      this.send('bulk', { type: 'ownerAckDirty', op: order.op, dirty: this.writebacks.give(page) })
      return
    }
    if (order.type === 'revoke') page.epoch = 0
    this.send('control', { type: 'ownerAck', op: order.op, file, page: index, held })
  }

  // ---- writebacks

  private writebackAcked(message: LeaderMessageOf<'writebackAck'>): void {
    if (message.req !== 0 && this.writebacks.answered(message.req) === undefined) return
    for (const outcome of message.pages) {
      if (message.req === 0) this.writebacks.givenAcknowledged(outcome)
      const page = this.spaces.get(outcome.file)?.get(outcome.page)
      if (page !== undefined && page.epoch === outcome.epoch) this.pageWritten(page, outcome)
    }
    this.creditCameBack()
  }

  /** Whoever was ordered to give something up comes before what is only flushed. */
  private creditCameBack(): void {
    for (const page of [...this.ordered]) this.obey(page)
  }

  private pageWritten(page: Page, outcome: WritebackOutcome): void {
    if (outcome.stale && outcome.seq === page.seq) {
      // Rule 14: to a live session, a stale epoch means that these bytes are committed: they left with a handover.
      this.drop(page)
    } else {
      // An older writeback can be stale because a newer one overtook it, and says nothing of what was written since.
      this.settleFlushes(page, (flush) => flush.seq <= outcome.seq)
      if (outcome.seq === page.seq) {
        page.writing = false
        page.version = outcome.version
        if (!page.changed) page.dirty = false
      }
      // A grant on its way may be older than these bytes: the epoch tells.
      if (page.access === 'invalid' && !page.dirty && page.req === 0) page.epoch = 0
    }
    this.update(page)
    this.forgetIfUnused(page)
  }

  private writebackFailed(message: LeaderMessageOf<'writebackFailed'>): void {
    const pages = this.writebacks.answered(message.req)
    if (pages === undefined) return
    const error = errorFromWire(message.error)
    for (const page of pages) {
      // A failed flush never gives the page up: it stays dirty, and the caller of msync hears of it.
      page.writing = false
      for (const flush of page.flushes.splice(0)) flush.fail(error)
      this.update(page)
    }
    this.creditCameBack()
    // A leader that is only busy is asked again, by `retry`.
    if (this.starved && !(error instanceof UnavailableError)) this.failStarved(error)
  }

  /** No frame can be made: whoever waits for one hears why, and whoever comes next tries again. */
  private failStarved(error: Error): void {
    this.starved = false
    for (const page of this.faultQueue) if (page.frame === undefined) this.failWaiters(page, error)
  }

  private settleFlushes(page: Page, isDone: (flush: FlushWaiter) => boolean): void {
    if (page.flushes.length === 0) return
    const waiting = page.flushes.splice(0)
    for (const flush of waiting) {
      if (flush.epoch !== page.epoch || isDone(flush)) flush.done()
      else page.flushes.push(flush)
    }
  }

  // ---- dropping

  private drop(page: Page): void {
    page.access = 'invalid'
    this.settleFlushes(page, () => true)
    page.dirty = false
    page.changed = false
    page.writing = false
    page.epoch = 0
    page.version = 0
  }

  private evict(page: Page): void {
    assert(page.isReclaimable, `page ${page.file}:${page.index} is evicted while it is needed`)
    this.counters.evictions++
    page.access = 'invalid'
    page.version = 0
    // Also when it is still queued for a fault that nobody waits for any more.
    this.release(page)
    this.forgetIfUnused(page)
  }

  private kill(page: Page, reason: Error): void {
    this.dropFault(page)
    if (page.order !== undefined) {
      const { order } = page
      page.order = undefined
      this.ordered.delete(page)
      this.answerUnheld(order, page.file, page.index)
    }
    page.access = 'invalid'
    page.dirty = false
    this.failWaiters(page, reason)
    for (const flush of page.flushes.splice(0)) flush.fail(reason)
    // A pin outlives the file and the session: nobody else gets its memory before it is released.
    if (page.pinned) this.update(page)
    else this.release(page)
  }

  /** A grant that is on its way finds nobody. */
  private dropFault(page: Page): void {
    if (page.req !== 0) this.takeFault(page.req)
    if (!page.queuedForFault) return
    page.queuedForFault = false
    this.faultQueue = this.faultQueue.filter((queued) => queued !== page)
  }

  private release(page: Page): void {
    this.resident.release(page)
    this.starved = false
  }

  private forgetIfUnused(page: Page): void {
    if (
      page.access !== 'invalid' ||
      page.dirty ||
      page.req !== 0 ||
      page.waiters.length > 0 ||
      page.order !== undefined
    )
      return
    if (page.pinned || page.queuedForFault) return
    this.release(page)
    this.spaces.get(page.file)?.delete(page)
  }

  private lostRanges(): LostRange[] {
    const lost: LostRange[] = []
    for (const space of this.spaces.values()) {
      const dirty = [...space.all()].filter((page) => page.dirty).sort((a, b) => a.index - b.index)
      for (const page of dirty) {
        const last = lost.at(-1)
        const offset = page.index * space.pageSize
        if (last?.file === String(space.file) && last.offset + last.length === offset) {
          lost[lost.length - 1] = { ...last, length: last.length + space.pageSize }
        } else {
          lost.push({ file: String(space.file), path: space.path, offset, length: space.pageSize })
        }
      }
    }
    return lost
  }

  private send(lane: 'control' | 'bulk', message: ClientMessage): void {
    if (this.term !== 0) this.output.push({ type: 'send', lane, message })
  }
}
