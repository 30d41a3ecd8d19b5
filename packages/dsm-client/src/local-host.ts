/** Keeps the pages of an address space whose hooks are a program's own. */
import { createClock } from '@quire/net'
import { ClosedError, PastEndError, UnavailableError, type Access } from '@quire/protocol'
import {
  PageTable,
  createSlabFrameProvider,
  zeroCounters,
  type AddressSpacePages,
  type Page,
  type PageBackend
} from './core/index.js'
import { Recorder } from './history.js'
import type { PageHost } from './host.js'
import type { VmOperations } from './types.js'
import { waitFor } from './waiting.js'

const MAX_FAULTS = 256
/** Pages in one call of `writePages`. */
const MAX_WRITE_PAGES = 256

export class LocalHost implements PageHost, PageBackend {
  readonly table: PageTable
  readonly recorder = new Recorder({ client: '', process: () => '', now: () => 0, emit: undefined })
  ended: Error | undefined
  private readonly clock = createClock()
  private readonly ending = new AbortController()
  private readonly faults = new Map<number, { readonly page: Page; readonly abort: AbortController }>()
  private nextFault = 1

  constructor(
    private readonly space: AddressSpacePages,
    private readonly ops: VmOperations,
    cacheBytes: number,
    private readonly timeoutMs: number
  ) {
    this.table = new PageTable(createSlabFrameProvider(cacheBytes), this, zeroCounters())
    this.table.add(space)
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

  wait<T>(
    start: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void,
    signal: AbortSignal | undefined,
    onBusy?: () => Error
  ): Promise<T> {
    const onTimeout = (): Error =>
      // Nothing is under way, so somebody's pin is what it waits for.
      (this.faults.size === 0 ? onBusy?.() : undefined) ??
      new UnavailableError(`the address space's hooks have not answered (waited ${this.timeoutMs} ms)`)
    return waitFor(start, { clock: this.clock, timeoutMs: this.timeoutMs, signal, onTimeout })
  }

  drain(): void {
    // Faults are sent at once.
  }

  end(): void {
    this.ended = new ClosedError('the address space')
    this.table.remove(this.space.file, this.ended)
    this.ending.abort(this.ended)
  }

  // ---- faults

  get canFault(): boolean {
    return this.faults.size < MAX_FAULTS
  }

  fault(page: Page, access: Access): void {
    const req = this.nextFault++
    const abort = new AbortController()
    page.req = req
    this.faults.set(req, { page, abort })
    const { index } = page
    const fault = { index, count: 1, access, frames: [page.frame!.bytes], signal: abort.signal }
    const isUpgrade = page.access === 'shared'
    // What a hook throws at once counts as well.
    new Promise<void>((resolve) => resolve(isUpgrade ? this.ops.wpPage(fault) : this.ops.noPage(fault))).then(
      () => this.resolved(req, access),
      (error: unknown) => this.rejected(req, error)
    )
  }

  dropFault(page: Page): void {
    this.faults.get(page.req)?.abort.abort()
    this.take(page.req)
  }

  settled(): void {
    // Nobody takes pages away but the program itself.
  }

  private resolved(req: number, access: Access): void {
    const page = this.faults.get(req)?.page
    if (page === undefined) return
    const isGone = page.discardedBy > 0
    this.take(req)
    const start = page.index * page.pageSize
    if (start >= this.space.size) {
      this.table.failed(page, new PastEndError(this.space.path, start, this.space.size))
    } else if (isGone) {
      // What the hook has filled in is from before a truncation.
      this.table.taken(page)
    } else {
      page.access = access === 'write' ? 'modified' : 'shared'
      this.table.granted(page)
    }
    this.table.pumpFaults()
  }

  private rejected(req: number, error: unknown): void {
    const page = this.take(req)
    if (page !== undefined) this.table.failed(page, asError(error))
    this.table.pumpFaults()
  }

  private take(req: number): Page | undefined {
    const page = this.faults.get(req)?.page
    this.faults.delete(req)
    if (page === undefined) return undefined
    page.req = 0
    page.discardedBy = 0
    return page
  }

  // ---- writing back

  flush(_: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    const dirty = this.space.between(first, last + 1).filter((page) => page.dirty)
    for (const page of dirty) {
      const isUnderWay = page.writing && !page.changed
      page.flushes.push({ epoch: 0, seq: isUnderWay ? page.seq : page.seq + 1, done, fail })
    }
    this.writeBack(dirty)
    return dirty.length
  }

  startWriting(_: number, first: number, last: number): number {
    this.writeBack(this.space.between(first, last + 1).filter((page) => page.dirty))
    return 0
  }

  writeBack(pages: readonly Page[]): void {
    const ready = pages.filter((page) => page.dirty && !page.writing)
    for (let at = 0; at < ready.length; at += MAX_WRITE_PAGES) void this.write(ready.slice(at, at + MAX_WRITE_PAGES))
  }

  private async write(pages: readonly Page[]): Promise<void> {
    const taken = pages.map((page) => {
      page.seq++
      page.writing = true
      // Under a write pin the program may change bytes at any moment.
      page.changed = page.writePins > 0
      this.table.changed(page)
      return { index: page.index, bytes: page.frame!.bytes.slice() }
    })
    let failure: Error | undefined
    try {
      await this.ops.writePages(taken)
    } catch (error) {
      failure = asError(error)
    }
    for (const page of pages) this.written(page, failure)
    if (failure !== undefined) this.table.failStarved(failure)
    this.table.pumpFaults()
  }

  private written(page: Page, failure: Error | undefined): void {
    if (!page.writing) return
    page.writing = false
    if (failure === undefined) {
      if (!page.changed) page.dirty = false
      for (const flush of page.flushes.splice(0)) {
        if (flush.seq <= page.seq) flush.done()
        else page.flushes.push(flush)
      }
    } else {
      // Never given up: it stays dirty, and whoever flushes hears of it.
      for (const flush of page.flushes.splice(0)) flush.fail(failure)
    }
    this.table.changed(page)
    // Written to meanwhile, and somebody waits for that.
    if (page.flushes.length > 0) this.writeBack([page])
    this.table.forgetIfUnused(page)
  }

  // ---- truncation

  /** The page's bytes from `from` on become zeros. */
  zero(index: number, from: number): Promise<void> {
    return this.wait<void>((resolve, reject) => {
      const run = (bytes: Uint8Array): void => {
        bytes.fill(0, from)
        resolve()
      }
      return this.table.access(this.space.file, index, { access: 'write', pin: false, run, fail: reject })
    }, undefined)
  }

  /** Pages from `first` on are gone, dirty or not. What is pinned stays until the pin ends. */
  discard(first: number): void {
    for (const page of this.space.between(first, Infinity)) {
      if (page.req !== 0) page.discardedBy = 1
      if (page.pinned) continue
      page.access = 'invalid'
      page.dirty = false
      page.changed = false
      page.writing = false
      for (const flush of page.flushes.splice(0)) flush.done()
      this.table.taken(page)
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
