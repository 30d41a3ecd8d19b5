/** Keeps the pages of an address space whose hooks are a program's own. */
import { createClock } from '@quire/net'
import { ClosedError, PastEndError, UnavailableError, type Access } from '@quire/protocol'
import {
  PageTable,
  createSlabFrameProvider,
  zeroCounters,
  type AddressSpaceInit,
  type AddressSpacePages,
  type Page,
  type PageBackend
} from '../core/index.js'
import { Recorder } from '../history.js'
import type { PageHost } from '../host.js'
import { SizeMoved } from '../api/page-io.js'
import type { VmOperations } from '../types.js'
import { untilAborted, waitFor, type Start } from '../waiting.js'

const MAX_FAULTS = 256
/** Pages in one call of `writePages`. */
const MAX_WRITE_PAGES = 256

interface Fault {
  readonly page: Page
  readonly abort: AbortController
  /** What becomes the page's bytes; undefined: it keeps those that it has. */
  readonly fill: Uint8Array | undefined
  /** The page was unmapped after the hook was asked: what it brings is from before. */
  isVoid: boolean
}

export class LocalHost implements PageHost, PageBackend {
  readonly table: PageTable
  readonly space: AddressSpacePages
  readonly recorder = new Recorder({ client: '', process: () => '', now: () => 0, emit: undefined })
  ended: Error | undefined
  private readonly clock = createClock()
  private readonly ending = new AbortController()
  private readonly faults = new Map<number, Fault>()
  /** Calls of `writePages` under way. */
  private readonly writes = new Set<{ readonly pages: readonly Page[]; readonly done: Promise<void> }>()
  /** Who waits for pages to leave once more. */
  private readonly rewrites = new Map<Page, (() => void)[]>()
  private nextFault = 1
  private isRetrying = false

  constructor(
    space: AddressSpaceInit,
    private readonly ops: VmOperations,
    cacheBytes: number,
    private readonly timeoutMs: number
  ) {
    this.table = new PageTable(createSlabFrameProvider(cacheBytes), this, zeroCounters())
    this.space = this.table.add(space)
  }

  get lost(): AbortSignal {
    return this.ending.signal
  }

  now(): number {
    return this.clock.now()
  }

  isLeaseValid(): boolean {
    return true
  }

  whenActive(): Promise<void> {
    return Promise.resolve()
  }

  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    const onTimeout = (): Error =>
      // No hook is under way, so somebody's pin is what it waits for.
      (this.faults.size + this.writes.size === 0 ? onBusy?.() : undefined) ??
      new UnavailableError(`the address space's hooks have not answered (waited ${this.timeoutMs} ms)`)
    return waitFor(start, { clock: this.clock, timeoutMs: this.timeoutMs, signal, onTimeout })
  }

  drain(): void {
    // Faults are sent at once.
  }

  end(): void {
    this.ended = new ClosedError('the address space')
    this.table.remove(this.space.file, this.ended)
    for (const page of [...this.rewrites.keys()]) this.rewritten(page)
    this.ending.abort(this.ended)
  }

  /** Fails everybody who waits for a page. */
  refuseWaiters(reason: Error): void {
    for (const page of [...this.space.all()]) {
      if (page.waiters.length === 0) continue
      this.table.failWaiters(page, reason)
      this.table.dropFault(page)
      this.table.changed(page)
      this.table.forgetIfUnused(page)
    }
    this.table.refuse(this.space, reason)
  }

  // ---- faults

  get canFault(): boolean {
    return this.faults.size < MAX_FAULTS
  }

  /**
   * A hook has a buffer of its own until it is done. Its page may be laid out anew, evicted or closed meanwhile, and a hook that comes late
   * must not write into memory that is another page's by then; holding the frame instead would make pins and evictions wait for hooks.
   * It costs a buffer and a copy of a page for each fault; a hit costs nothing.
   */
  fault(page: Page, access: Access): void {
    const req = this.nextFault++
    const { index } = page
    const isUpgrade = page.access === 'shared'
    const bytes = isUpgrade ? page.frame!.bytes.slice() : new Uint8Array(page.pageSize)
    // What is dirty was written after the hook's bytes, also if it is written back before the hook is done.
    const fill = isUpgrade || page.dirty ? undefined : bytes
    const abort = new AbortController()
    page.req = req
    this.faults.set(req, { page, abort, fill, isVoid: false })
    const fault = { index, count: 1, access, frames: [bytes], signal: abort.signal }
    // What a hook throws at once counts as well.
    new Promise<void>((resolve) => resolve(isUpgrade ? this.ops.wpPage(fault) : this.ops.noPage(fault))).then(
      () => this.resolved(req, access),
      (error: unknown) => this.rejected(req, error)
    )
  }

  dropFault(page: Page): void {
    this.take(page.req)?.abort.abort()
  }

  abandoned(page: Page): void {
    this.dropFault(page)
    this.retrySoon()
  }

  unmapped(page: Page): void {
    const fault = this.faults.get(page.req)
    if (fault !== undefined) fault.isVoid = true
  }

  released(): void {
    // Nobody takes pages away but the program itself. The page may be dirty now, and its frame what others wait for.
    this.retrySoon()
  }

  /** Others may go on, but not before all that ends at the same time has. */
  private retrySoon(): void {
    if (this.isRetrying) return
    this.isRetrying = true
    queueMicrotask(() => {
      this.isRetrying = false
      this.table.retry()
    })
  }

  private resolved(req: number, access: Access): void {
    const fault = this.take(req)
    if (fault === undefined) return
    const { page, fill, isVoid } = fault
    const start = page.index * page.pageSize
    if (start >= this.space.size) {
      this.table.failed(page, new SizeMoved(new PastEndError(this.space.path, start, this.space.size)))
    } else if (isVoid) {
      this.table.accessReduced(page)
    } else {
      if (fill !== undefined) page.frame!.bytes.set(fill)
      page.grant(access)
      this.table.granted(page)
    }
    this.table.pumpFaults()
  }

  private rejected(req: number, error: unknown): void {
    const fault = this.take(req)
    if (fault?.isVoid === true) this.table.accessReduced(fault.page)
    else if (fault !== undefined) this.table.failed(fault.page, asError(error))
    this.table.pumpFaults()
  }

  private take(req: number): Fault | undefined {
    const fault = this.faults.get(req)
    if (fault === undefined) return undefined
    this.faults.delete(req)
    fault.page.req = 0
    return fault
  }

  // ---- writing back

  flush(_: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    const dirty = this.dirty(first, last)
    for (const page of dirty) page.awaitFlush(done, fail)
    this.writeBack(dirty)
    return dirty.length
  }

  startWriting(_: number, first: number, last: number, started: () => void): number {
    const dirty = this.dirty(first, last)
    // Written to since they left: they leave again when that write is over.
    const again = dirty.filter((page) => page.writing && page.changed)
    for (const page of again) this.rewrites.set(page, [...(this.rewrites.get(page) ?? []), started])
    this.writeBack(dirty)
    return again.length
  }

  private dirty(first: number, last: number): Page[] {
    return this.space.between(first, last + 1).filter((page) => page.dirty && this.isInside(page))
  }

  /** What lies beyond the end is about to be dropped. */
  private isInside(page: Page): boolean {
    return page.index * page.pageSize < this.space.size
  }

  writeBack(pages: readonly Page[]): void {
    const ready = pages.filter((page) => page.dirty && !page.writing && this.isInside(page))
    for (let at = 0; at < ready.length; at += MAX_WRITE_PAGES) {
      const batch = ready.slice(at, at + MAX_WRITE_PAGES)
      const write = { pages: batch, done: this.write(batch).finally(() => this.writes.delete(write)) }
      this.writes.add(write)
    }
  }

  private async write(pages: readonly Page[]): Promise<void> {
    const taken = pages.map((page) => {
      page.seq++
      page.writing = true
      // Under a write pin the program may change bytes at any moment.
      page.changed = page.writePins > 0
      this.table.changed(page)
      return { page, seq: page.seq, dirty: { index: page.index, bytes: page.frame!.bytes.slice() } }
    })
    let failure: Error | undefined
    try {
      await this.ops.writePages(taken.map(({ dirty }) => dirty))
    } catch (error) {
      failure = asError(error)
    }
    for (const { page, seq } of taken) this.written(page, seq, failure)
    if (failure !== undefined) this.table.failStarved(failure)
    this.table.pumpFaults()
  }

  private written(page: Page, seq: number, failure: Error | undefined): void {
    if (!page.writing || page.seq !== seq) return
    page.writing = false
    if (failure === undefined) {
      if (!page.changed) page.dirty = false
      for (const flush of page.flushes.splice(0)) {
        if (flush.seq <= seq) flush.done()
        else page.flushes.push(flush)
      }
    } else {
      // Never given up: it stays dirty, and whoever flushes hears of it.
      for (const flush of page.flushes.splice(0)) flush.fail(failure)
    }
    this.table.changed(page)
    // Written to meanwhile, and somebody waits for that.
    if (page.flushes.length > 0 || this.rewrites.has(page)) this.writeBack([page])
    this.rewritten(page)
    this.table.forgetIfUnused(page)
  }

  private rewritten(page: Page): void {
    const waiting = this.rewrites.get(page) ?? []
    this.rewrites.delete(page)
    for (const started of waiting) started()
  }

  // ---- truncation

  /** The size becomes `size`, and the rest of its last page zeros, in one step. When this rejects, neither has. */
  async shorten(size: number, signal: AbortSignal): Promise<void> {
    const { pageSize, file } = this.space
    const tail = size % pageSize
    const index = Math.floor(size / pageSize)
    if (tail === 0) {
      this.space.size = size
      return
    }
    await this.wait<void>((resolve, reject) => {
      const run = (bytes: Uint8Array): void => {
        this.space.size = size
        bytes.fill(0, tail)
        resolve()
      }
      return this.table.access(file, index, { access: 'write', pin: false, run, fail: reject })
    }, signal)
  }

  /**
   * Waits until pages from `first` on are neither pinned nor being written, then drops them, dirty or not (kernel: truncate_inode_pages).
   * What were dropped while it is written would come back: with its bytes from where they were written to. Rejects when the space is closed.
   */
  async discard(first: number): Promise<void> {
    // A pin in the making must not hold it up.
    this.table.pins.giveWay(this.space, first, Infinity)
    for (;;) {
      const pages = this.space.between(first, Infinity)
      const writes = [...this.writes].filter((write) => write.pages.some(({ index }) => index >= first))
      if (pages.some((page) => page.pinned)) await this.unlessEnded(this.whenUnpinned(pages))
      else if (writes.length > 0) await this.unlessEnded(Promise.all(writes.map(({ done }) => done)))
      else return this.drop(pages)
    }
  }

  private whenUnpinned(pages: readonly Page[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.table.whenUnpinned(this.space, pages, resolve, reject)
    })
  }

  private unlessEnded<T>(promise: Promise<T>): Promise<T> {
    return untilAborted(promise, this.ending.signal)
  }

  private drop(pages: readonly Page[]): void {
    for (const page of pages) {
      page.invalidate()
      page.dirty = false
      page.changed = false
      for (const flush of page.flushes.splice(0)) flush.done()
      this.rewritten(page)
      this.unmapped(page)
      this.table.accessReduced(page)
    }
    this.table.pumpFaults()
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
