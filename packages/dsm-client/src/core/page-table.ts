/**
 * A client's page table: which accesses run now, and which wait.
 *
 * It does not know where access comes from. That is the backend's part: the coherence protocol of the cluster, or a
 * program's own `VmOperations`.
 */
import { assert, type Access } from '@quire/protocol'
import { AddressSpacePages, type AddressSpacePagesInit } from './address-space.js'
import { FaultQueue } from './fault-queue.js'
import type { FrameProvider } from './frames.js'
import type { Page, PageWaiter } from './page.js'
import type { ReadAheadObserver } from './read-ahead.js'
import { PageFrames } from './page-frames.js'
import { PageRanges } from './page-ranges.js'
import { PageWaiters } from './page-waiters.js'
import { PinRequests } from './pin-request.js'
import type { CoherenceCounters } from './stats.js'
import { UnpinWaiters } from './unpin-waiters.js'

/** Gets access to pages for the page table. */
export interface PageBackend {
  /** While it is false, faults wait. The backend calls `pumpFaults` when it becomes true. */
  readonly canFault: boolean
  /** Asks for access to a page that has a frame. Sets `page.req`, and later calls `granted` or `failed`. */
  fault(page: Page, access: Access): void
  /** The table no longer wants the outstanding fault, and the page goes. */
  dropFault(page: Page): void
  /** The last waiter for the outstanding fault has given up. */
  abandoned?(page: Page): void
  /** `unmap` took access from the page. That covers the access that an outstanding fault would give. */
  unmapped?(page: Page): void
  /** The program is about to write to a clean page. Its bytes are still as they were. */
  beforeWrite?(page: Page): void
  /** The page goes, with its bytes. */
  dropped?(page: Page): void
  /** Nothing is left of the page: it has neither access nor bytes that are not durable. */
  forgotten?(page: Page): void
  /** Starts to write dirty pages back. */
  writeBack(pages: readonly Page[]): void
  /** A pin or a fault of the page has ended. The backend continues what it held back for that. */
  released(page: Page): void
}

/** Decides for each access to a page whether it runs now or waits. */
export class PageTable {
  private readonly spaces = new Map<number, AddressSpacePages>()
  readonly frames: PageFrames
  readonly pins = new PinRequests()
  readonly ranges: PageRanges
  private readonly waiters = new PageWaiters()
  private readonly faults: FaultQueue
  private readonly unpinWaiters = new UnpinWaiters()

  constructor(
    private readonly memory: FrameProvider,
    private readonly backend: PageBackend,
    private readonly counters: CoherenceCounters
  ) {
    this.frames = new PageFrames({
      frames: memory,
      evict: (victim) => this.evict(victim),
      writeBack: (pages) => backend.writeBack(pages)
    })
    this.faults = new FaultQueue({
      frames: this.frames,
      backend,
      spaceOf: (page) => this.spaces.get(page.file)!,
      failWaiters: (page, error) => this.failWaiters(page, error),
      forgetIfUnused: (page) => this.forgetIfUnused(page)
    })
    this.ranges = new PageRanges({
      giveWay: (page) => this.pins.giveWay(this.spaces.get(page.file)!, page.index, page.index + 1),
      dropFault: (page) => this.dropFault(page),
      backend,
      accessReduced: (page) => this.accessReduced(page),
      resumePins: () => this.pins.resume(),
      drop: (page) => this.drop(page)
    })
  }

  // ---- address spaces

  /** Returns the file's address space, and makes it if there is none. */
  add(init: AddressSpacePagesInit): AddressSpacePages {
    let space = this.spaces.get(init.file)
    if (space === undefined) {
      space = new AddressSpacePages(init, this.memory)
      this.spaces.set(init.file, space)
    }
    return space
  }

  /** The address space of a page that is dirty or waits for a grant: these end when their file is removed. */
  spaceOf({ file, index }: Page): AddressSpacePages {
    const space = this.spaces.get(file)
    assert(space !== undefined, `page ${file}:${index} is in use, but its file is not open`)
    return space
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

  /** Drops everything of the file. The caller has flushed it. */
  remove(file: number, reason: Error): void {
    const space = this.spaces.get(file)
    if (space === undefined) return
    this.spaces.delete(file)
    // Requests fail before their frames come free: no request may continue in a file that is gone.
    this.failRequests(file, reason)
    for (const page of space.all()) this.kill(page, reason)
    for (const copies of space.privateCopies) copies.discard(0, Infinity)
    this.pumpFaults()
  }

  /** Fails every access and pin that waits in the file. Granted access and pins stay. */
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
   * Runs `waiter` with access to the page: at once if the table allows it, otherwise after a fault. Returns a function
   * that withdraws the waiter if it has not run; other waiters for the page stay.
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
    return this.wait(page, waiter)
  }

  /**
   * Gets access to the page ahead of an access that needs it. `fail` may be called once. Returns a function that
   * withdraws the request.
   */
  prefetch(space: AddressSpacePages, index: number, access: Access, fail: (error: Error) => void): () => void {
    const page = space.getOrCreate(index)
    if (page.allows(access)) return () => {}
    return this.wait(page, { access, pin: false, isPrefetch: true, run: () => {}, fail })
  }

  /**
   * Gets a page that the program will probably read, unless other accesses wait for frames or faults: then it returns
   * false. `observer` hears whether the program reads it.
   */
  readAhead(space: AddressSpacePages, index: number, observer?: ReadAheadObserver): boolean {
    const page = space.getOrCreate(index)
    const isOnItsWay = page.req !== 0 || page.waiters.length > 0
    if (page.access !== 'invalid' || isOnItsWay || page.evicting > 0) return true
    let isAsked = true
    const run = (): void => {
      this.counters.readAheads++
      page.readAhead = {
        used: () => observer?.used(),
        wasted: () => {
          this.counters.readAheadsWasted++
          observer?.wasted()
        }
      }
    }
    const fail = (): void => void (isAsked = false)
    this.wait(page, { access: 'read', pin: false, isPrefetch: true, isOptional: true, run, fail })
    return isAsked
  }

  private wait(page: Page, waiter: PageWaiter): () => void {
    this.waiters.add(page, waiter)
    this.faults.request(page)
    this.changed(page)
    this.forgetIfUnused(page)
    return () => this.withdraw(page, waiter)
  }

  /** Whether every page from `first` to `last` allows the access here and now. */
  allows(file: number, first: number, last: number, access: Access): boolean {
    const space = this.spaces.get(file)
    if (space === undefined) return false
    for (let index = first; index <= last; index++) {
      const page = space.get(index)
      if (page === undefined || !page.allows(access) || page.evicting > 0) return false
    }
    return true
  }

  /**
   * Accesses a page for which `allows` is true, and returns its bytes. Call `touched` when the access is over: a
   * writeback that starts earlier lacks the new bytes.
   */
  touch(file: number, index: number, access: Access): Uint8Array {
    const page = this.page(file, index)!
    this.counters.hits++
    page.touch()
    if (access === 'write') {
      page.changes++
      this.beginWrite(page)
    } else page.writeProtect()
    this.changed(page)
    return page.frame!.bytes
  }

  /** The access of the pages from `first` to `last` by `touch` is over. */
  touched(file: number, first: number, last: number, access: Access): void {
    if (this.memory.isMapped) for (let index = first; index <= last; index++) this.map(this.page(file, index)!)
    if (access === 'write') this.frames.writeBackEarly()
  }

  /** Lets the program go on with the page by itself, unless the access that has just ended closed its file. */
  private map(page: Page): void {
    if (!this.memory.isMapped || page.access === 'invalid') return
    const space = this.spaces.get(page.file)
    if (space?.number === page.space) page.map(space.size - page.index * page.pageSize)
  }

  /**
   * Ends a pin of `page`, the page that its waiter ran with. `hasChanged` is false if the program is known to have left
   * the bytes as they were.
   */
  unpin(page: Page, access: Access, hasChanged = access === 'write'): void {
    if (access === 'write') page.writePins--
    else page.readPins--
    if (hasChanged) page.changes++
    assert(
      page.readPins >= 0 && page.writePins >= 0,
      `page ${page.file}:${page.index} was unpinned more often than it was pinned`
    )
    this.unpinWaiters.pinEnded()
    if (this.page(page.file, page.index) !== page) {
      // The file was closed or its session lost while the page was pinned: only the frame is left.
      if (!page.isHeld) this.frames.release(page)
      return this.pumpFaults()
    }
    if (access === 'write') this.markDirty(page)
    this.changed(page)
    this.backend.released(page)
    this.pumpFaults()
  }

  /** Calls `done`, now or later, when none of the pages is pinned. Returns a function that withdraws. */
  whenUnpinned(
    { file }: AddressSpacePages,
    pages: readonly Page[],
    done: () => void,
    fail: (error: Error) => void
  ): () => void {
    return this.unpinWaiters.enter({ file, pages, done, fail })
  }

  // ---- calls of the backend

  /**
   * The page has more access than before. Runs its waiters before anything can take the access away, so that every
   * grant is used.
   */
  granted(page: Page): void {
    this.serveAll(page)
    this.backend.released(page)
    this.faults.request(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** The fault of the page failed. */
  failed(page: Page, error: Error): void {
    this.failWaiters(page, error)
    this.backend.released(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** The page has less access than before. Serves its waiters from what is left, or by a new fault. */
  accessReduced(page: Page): void {
    this.serveAll(page)
    this.faults.request(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  /** The backend takes faults again: requests one for every page with a waiter. */
  resume(): void {
    for (const page of this.waiters.all()) this.faults.request(page)
    this.pumpFaults()
  }

  /** The backend takes no more faults, and has forgotten those that it had. */
  suspend(): void {
    this.faults.clear()
  }

  /** Faults that wait for a frame or for another fault to end. */
  get queuedFaults(): number {
    return this.faults.length
  }

  pumpFaults(): void {
    this.pins.resume()
    this.frames.pump()
    this.faults.pump()
  }

  dropFault(page: Page): void {
    this.faults.drop(page)
  }

  /** Looks for frames again, although nothing is known to have changed. Call it now and then. */
  retry(): void {
    this.frames.framesMayBeFree()
    this.pumpFaults()
  }

  /** Dirty pages cannot be written back: fails everything that waits for a frame. Later requests try again. */
  failStarved(error: Error): void {
    if (!this.frames.isStarved) return
    this.frames.framesMayBeFree()
    this.faults.failUnplaced(error)
    this.frames.failWaiters(error)
  }

  /** Call it when the page's state changes in a way that decides whether its frame can be taken. */
  changed(page: Page): void {
    this.frames.changed(page)
  }

  // ---- waiters

  private mayRun(page: Page, waiter: PageWaiter): boolean {
    if (!page.allows(waiter.access) || page.evicting > 0) return false
    // A pin would keep the page from another client that already wants it.
    return !(waiter.pin && (page.demotion !== undefined || this.spaces.get(page.file)!.isLeaving(page.index)))
  }

  private serveAll(page: Page): void {
    if (page.evicting > 0) return
    for (const waiter of [...page.waiters]) {
      if (page.allows(waiter.access) && this.waiters.delete(page, waiter)) this.run(page, waiter)
    }
  }

  private run(page: Page, waiter: PageWaiter): void {
    if (waiter.isPrefetch === true) return waiter.run(page.frame!.bytes, page)
    page.touch()
    if (waiter.access === 'write') this.beginWrite(page)
    else page.writeProtect()
    if (waiter.pin) {
      if (waiter.access === 'write') page.writePins++
      else page.readPins++
    } else if (waiter.access === 'write') page.changes++
    waiter.run(page.frame!.bytes, page)
    this.map(page)
    this.changed(page)
    this.frames.writeBackEarly()
  }

  private beginWrite(page: Page): void {
    page.unmap()
    if (!page.dirty) this.backend.beforeWrite?.(page)
    this.markDirty(page)
  }

  private markDirty(page: Page): void {
    page.dirty = true
    page.changed = true
  }

  private withdraw(page: Page, waiter: PageWaiter): void {
    if (!this.waiters.delete(page, waiter)) return
    if (page.waiters.length === 0 && page.req !== 0) this.backend.abandoned?.(page)
    this.changed(page)
    this.forgetIfUnused(page)
  }

  failWaiters(page: Page, error: Error): void {
    this.waiters.fail(page, error)
  }

  // ---- dropping

  private evict(page: Page): void {
    assert(page.isReclaimable, `page ${page.file}:${page.index} is evicted while it is needed`)
    // The page may still be queued for a fault that lost its waiters.
    this.drop(page)
    this.forgetIfUnused(page)
  }

  private drop(page: Page): void {
    this.counters.evictions++
    page.invalidate()
    page.version = 0
    this.backend.dropped?.(page)
    this.frames.release(page)
  }

  private kill(page: Page, reason: Error): void {
    this.dropFault(page)
    page.invalidate()
    page.dirty = false
    this.backend.dropped?.(page)
    this.failWaiters(page, reason)
    for (const flush of page.flushes.splice(0)) flush.fail(reason)
    // A pin outlives the file and the session. Its memory serves nothing else before its release.
    if (page.isHeld) this.changed(page)
    else this.frames.release(page)
  }

  forgetIfUnused(page: Page): void {
    if (page.isNeeded) return
    this.frames.release(page)
    this.backend.forgotten?.(page)
    this.spaces.get(page.file)?.delete(page)
  }
}
