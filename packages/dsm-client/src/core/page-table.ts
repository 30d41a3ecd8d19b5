/**
 * A client's page tables: who may access which page now, who waits, and where pages lie. It does not know where access comes from: that is the
 * backend's, the cluster's coherence protocol or a program's own `VmOperations`.
 */
import { CacheFullError, assert, type Access } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'
import type { Frame, FrameProvider } from './frames.js'
import type { Page, PageWaiter } from './page.js'
import { PinRequests } from './pin-request.js'
import { ResidentPages } from './resident-pages.js'
import { FrameWaiters } from './frame-waiters.js'
import type { CoherenceCounters } from './stats.js'
import { UnpinWaiters } from './unpin-waiters.js'

export interface PageBackend {
  /** False: faults wait, and `pumpFaults` is called when that changes. */
  readonly canFault: boolean
  /** Gets access to a page, which has a frame. It marks the page (`req`), and says `granted` or `failed` later. */
  fault(page: Page, access: Access): void
  /** Nobody waits for the fault any more, and its page goes. */
  dropFault(page: Page): void
  /** The last who waited for the outstanding fault has given up. */
  abandoned?(page: Page): void
  /** Access was taken from the page by `unmap`, also what an outstanding fault would give. */
  unmapped?(page: Page): void
  /** Begins to write dirty pages back. */
  writeBack(pages: readonly Page[]): void
  /** A pin of the page has ended, or a fault of it: what was held back for that may go on. */
  released(page: Page): void
}

export class PageTable {
  private readonly spaces = new Map<number, AddressSpacePages>()
  readonly resident: ResidentPages
  readonly pins = new PinRequests()
  /** Faults that wait for a frame or for an earlier fault to end. */
  private faultQueue: Page[] = []
  private readonly frameWaiters: FrameWaiters
  private readonly unpinWaiters = new UnpinWaiters()
  /** Pages with somebody waiting. */
  private readonly wanted = new Set<Page>()

  constructor(
    frames: FrameProvider,
    private readonly backend: PageBackend,
    private readonly counters: CoherenceCounters
  ) {
    this.resident = new ResidentPages(frames)
    this.frameWaiters = new FrameWaiters({
      resident: this.resident,
      evict: (victim) => this.evict(victim),
      writeBack: (pages) => backend.writeBack(pages)
    })
  }

  // ---- address spaces

  add(space: AddressSpacePages): void {
    if (!this.spaces.has(space.file)) this.spaces.set(space.file, space)
  }

  space(file: number): AddressSpacePages | undefined {
    return this.spaces.get(file)
  }

  all(): Iterable<AddressSpacePages> {
    return this.spaces.values()
  }

  page(file: number, index: number): Page | undefined {
    return this.spaces.get(file)?.get(index)
  }

  /** Drops everything of the file; the caller has flushed it. */
  remove(file: number, reason: Error): void {
    const space = this.spaces.get(file)
    if (space === undefined) return
    this.spaces.delete(file)
    // Before its frames come free: nobody may go on in a file that is not there.
    this.failRequests(file, reason)
    for (const page of space.all()) this.kill(page, reason)
    for (const copies of space.privateCopies) copies.discard(0, Infinity)
    this.pumpFaults()
  }

  /** Fails everybody who waits for something of the file; what is held stays. */
  refuse(space: AddressSpacePages, reason: Error): void {
    this.failRequests(space.file, reason)
    for (const page of [...space.all()]) this.failWaiters(page, reason)
  }

  private failRequests(file: number, reason: Error): void {
    this.pins.fail(file, reason)
    this.unpinWaiters.fail(file, reason)
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
    if (this.mayRun(page, waiter)) {
      this.counters.hits++
      this.run(page, waiter)
      return () => {}
    }
    page.waiters.push(waiter)
    this.wanted.add(page)
    this.requestAccess(page)
    this.changed(page)
    this.forgetIfUnused(page)
    return () => this.withdraw(page, waiter)
  }

  /** Whether everything from `first` to `last` may be accessed here and now. */
  allows(file: number, first: number, last: number, access: Access): boolean {
    const space = this.spaces.get(file)
    if (space === undefined) return false
    for (let index = first; index <= last; index++) {
      const page = space.get(index)
      if (page === undefined || !page.allows(access) || page.evicting > 0) return false
    }
    return true
  }

  /** Accesses a page that `allows` it. */
  touch(file: number, index: number, access: Access): Uint8Array {
    const page = this.page(file, index)!
    this.counters.hits++
    page.accessed = true
    page.uses++
    if (access === 'write') this.markDirty(page)
    this.changed(page)
    return page.frame!.bytes
  }

  /** Call it when what was touched is written: not before, or what is taken would lack the new bytes. */
  writeBackEarly(): void {
    this.frameWaiters.writeBackEarly()
  }

  /** Ends a pin; `page` is what its waiter was run with. */
  unpin(page: Page, access: Access): void {
    if (access === 'write') page.writePins--
    else page.readPins--
    assert(page.readPins >= 0 && page.writePins >= 0, `page ${page.file}:${page.index} was unpinned once too often`)
    this.unpinWaiters.pinEnded()
    if (this.page(page.file, page.index) !== page) {
      // Its file was given up meanwhile, or its session lost: all that was left is the frame.
      if (!page.isHeld) this.release(page)
      return this.pumpFaults()
    }
    if (access === 'write') this.markDirty(page)
    this.changed(page)
    this.backend.released(page)
    this.pumpFaults()
  }

  // ---- what the backend says

  /** The page's access has changed: whoever waits now is served before it can be taken away again, so that a grant is always used. */
  granted(page: Page): void {
    this.serveAll(page)
    this.backend.released(page)
    this.requestAccess(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** The fault of a page came to nothing. */
  failed(page: Page, error: Error): void {
    this.failWaiters(page, error)
    this.backend.released(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** The page's access was taken away or lessened: who waits is served from what is left, or by a new fault. */
  accessReduced(page: Page): void {
    this.serveAll(page)
    this.requestAccess(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** Faults can be sent (again): for all pages that somebody waits for. */
  resume(): void {
    for (const page of [...this.wanted]) this.requestAccess(page)
    this.pumpFaults()
  }

  /** Faults cannot be sent any more, and those that were are void. */
  suspend(): void {
    for (const page of this.faultQueue) page.queuedForFault = false
    this.faultQueue = []
  }

  /** Faults that wait for a frame or for an earlier fault to end. */
  get queuedFaults(): number {
    return this.faultQueue.length
  }

  pumpFaults(): void {
    this.pins.resume()
    this.frameWaiters.pump()
    for (let count = this.faultQueue.length; count > 0 && this.backend.canFault; count--) {
      const page = this.faultQueue.shift()
      if (page === undefined) return
      page.queuedForFault = false
      // A page that has a frame goes on also while others wait for one.
      this.requestAccess(page)
      this.forgetIfUnused(page)
    }
  }

  /** Looks for frames again after there was no room for what must be written back first. Call it now and then. */
  retry(): void {
    this.frameWaiters.changed()
    this.pumpFaults()
  }

  /** No frame can be made: whoever waits for one hears why, and whoever comes next tries again. */
  failStarved(error: Error): void {
    if (!this.frameWaiters.isStarved) return
    this.frameWaiters.changed()
    for (const page of this.faultQueue) if (page.frame === undefined) this.failWaiters(page, error)
    this.frameWaiters.fail(error)
  }

  /** The page's state has changed in a way that matters to whoever looks for a frame. */
  changed(page: Page): void {
    if (this.resident.changed(page)) this.frameWaiters.changed()
  }

  // ---- ranges (kernel: unmap_mapping_range, invalidate_inode_pages2_range)

  /** The next access faults again; dirty bytes stay. A pinned page stays as it is. */
  unmap(page: Page): void {
    if (page.pinned) return
    page.access = 'invalid'
    this.backend.unmapped?.(page)
    this.accessReduced(page)
  }

  /** Until `endEviction` nobody gets access to the page, other than who has it pinned. */
  beginEviction(page: Page): void {
    page.evicting++
    this.pins.giveWay(this.spaces.get(page.file)!, page.index, page.index + 1)
    this.dropFault(page)
    this.unmap(page)
    // An order that follows the grant of that fault waits for nothing now.
    this.backend.released(page)
  }

  /** Drops the page unless it was written to under a pin that began before the eviction. */
  evictIfClean(page: Page): void {
    if (page.dirty || page.isHeld || page.demotion !== undefined) return
    page.access = 'invalid'
    page.version = 0
    this.counters.evictions++
    this.release(page)
  }

  /** Whoever waits looks at the page table again. */
  endEviction(page: Page): void {
    page.evicting--
    if (page.evicting > 0) return
    this.accessReduced(page)
    this.pins.resume()
  }

  /** Calls `done` when no page is pinned, at once or later. Returns a function that withdraws. */
  whenUnpinned(
    { file }: AddressSpacePages,
    pages: readonly Page[],
    done: () => void,
    fail: (error: Error) => void
  ): () => void {
    return this.unpinWaiters.enter({ file, pages, done, fail })
  }

  // ---- faults

  private requestAccess(page: Page): void {
    if (page.req !== 0 || page.queuedForFault || page.waiters.length === 0 || page.evicting > 0) return
    const access: Access = page.waiters.some((waiter) => waiter.access === 'write') ? 'write' : 'read'
    // Access is there, but somebody wants the page first: when that is over, this comes again.
    const space = this.spaces.get(page.file)!
    if (page.allows(access) || space.isUncertain(page.index)) return
    // The whole file is to be given up: it can be kept for a pin in the making, and is not for anybody else.
    if (space.demotion !== undefined && page.reserved === 0) return
    const mustWait = !this.backend.canFault || (this.frameWaiters.isStarved && page.frame === undefined)
    if (mustWait || !this.place(page)) {
      if (page.waiters.length === 0) return
      page.queuedForFault = true
      this.faultQueue.push(page)
      return
    }
    page.uses = 0
    this.backend.fault(page, access)
  }

  /** A frame is found before the fault is sent, so that a grant always has a place to go. */
  private place(page: Page): boolean {
    const space = this.spaces.get(page.file)!
    if (this.resident.place(page, space, (victim) => this.evict(victim))) return true
    if (this.resident.isFullFor(page.pageSize, 1)) {
      this.failWaiters(page, new CacheFullError(this.resident.capacityBytes, page.pageSize))
      return false
    }
    this.frameWaiters.starve()
    return false
  }

  // ---- frames of no page

  /** Gives frames that follow one another and belong to no page, now or later; `releaseFrame` takes each back. Returns a function that withdraws. */
  wantFrames(
    pageSize: number,
    count: number,
    run: (frames: readonly Frame[]) => void,
    fail: (error: Error) => void
  ): () => void {
    return this.frameWaiters.wantFrames(pageSize, count, run, fail)
  }

  /** Puts pages next to each other in memory: see `ResidentPages.layOut`. */
  layOut(pages: readonly Page[]): 'done' | 'conflict' | 'noRoom' {
    const result = this.resident.layOut(pages, (victim) => this.evict(victim))
    for (const page of pages) this.changed(page)
    return result
  }

  /** There is no room now. Calls `run` when there may be more. Returns a function that withdraws. */
  whenRoom(run: () => void, fail: (error: Error) => void): () => void {
    return this.frameWaiters.whenRoom(run, fail)
  }

  releaseFrame(frame: Frame): void {
    this.resident.releaseAnonymous(frame)
    this.frameWaiters.changed()
  }

  // ---- waiters

  private mayRun(page: Page, waiter: PageWaiter): boolean {
    if (!page.allows(waiter.access) || page.evicting > 0) return false
    // A pin would keep the page from whoever wants it already.
    return !(waiter.pin && (page.demotion !== undefined || this.spaces.get(page.file)!.isLeaving(page.index)))
  }

  private serveAll(page: Page): void {
    if (page.evicting > 0) return
    for (const waiter of [...page.waiters]) if (page.allows(waiter.access)) this.serve(page, waiter)
  }

  private serve(page: Page, waiter: PageWaiter): void {
    page.waiters.splice(page.waiters.indexOf(waiter), 1)
    if (page.waiters.length === 0) this.wanted.delete(page)
    this.run(page, waiter)
  }

  private run(page: Page, waiter: PageWaiter): void {
    page.accessed = true
    page.uses++
    if (waiter.access === 'write') this.markDirty(page)
    if (waiter.pin) {
      if (waiter.access === 'write') page.writePins++
      else page.readPins++
    }
    waiter.run(page.frame!.bytes, page)
    this.changed(page)
    this.frameWaiters.writeBackEarly()
  }

  private markDirty(page: Page): void {
    page.dirty = true
    page.changed = true
  }

  private withdraw(page: Page, waiter: PageWaiter): void {
    const at = page.waiters.indexOf(waiter)
    if (at < 0) return
    page.waiters.splice(at, 1)
    if (page.waiters.length === 0) {
      this.wanted.delete(page)
      if (page.req !== 0) this.backend.abandoned?.(page)
    }
    this.changed(page)
    this.forgetIfUnused(page)
  }

  failWaiters(page: Page, error: Error): void {
    this.wanted.delete(page)
    for (const waiter of page.waiters.splice(0)) waiter.fail(error)
  }

  // ---- dropping

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
    page.access = 'invalid'
    page.dirty = false
    this.failWaiters(page, reason)
    for (const flush of page.flushes.splice(0)) flush.fail(reason)
    // A pin outlives the file and the session: nobody else gets its memory before it is released.
    if (page.isHeld) this.changed(page)
    else this.release(page)
  }

  /** A grant that is on its way finds nobody. */
  dropFault(page: Page): void {
    if (page.req !== 0) this.backend.dropFault(page)
    if (!page.queuedForFault) return
    page.queuedForFault = false
    this.faultQueue = this.faultQueue.filter((queued) => queued !== page)
  }

  private release(page: Page): void {
    if (page.frame === undefined) return
    this.resident.release(page)
    this.frameWaiters.changed()
  }

  forgetIfUnused(page: Page): void {
    if (page.isNeeded) return
    this.release(page)
    this.spaces.get(page.file)?.delete(page)
  }
}
