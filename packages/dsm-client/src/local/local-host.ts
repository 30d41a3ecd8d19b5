/** The pages of an address space without a cluster. */
import { ClosedError, UnavailableError, type Access, type Clock } from '@quire/protocol'
import {
  PageTable,
  createSlabFrameProvider,
  zeroCounters,
  type AddressSpacePagesInit,
  type AddressSpacePages,
  type Page,
  type PageBackend
} from '../core/index.js'
import { Recorder } from '../history.js'
import type { PageHost } from '../host.js'
import type { VmOperations } from '../local-types.js'
import { waitFor, type Start } from '../waiting.js'
import { HookFaults } from './hook-faults.js'
import { HookWritebacks } from './hook-writebacks.js'

export interface LocalHostInit {
  readonly clock: Clock
  readonly space: AddressSpacePagesInit
  readonly ops: VmOperations
  readonly cacheBytes: number
  readonly timeoutMs: number
}

/** Hosts the pages of one address space on a program's own hooks. */
export class LocalHost implements PageHost, PageBackend {
  readonly table: PageTable
  readonly space: AddressSpacePages
  readonly recorder = new Recorder({ client: '', process: () => '', now: () => 0, emit: undefined })
  readonly writebacks: HookWritebacks
  ended: Error | undefined
  private readonly faults: HookFaults
  private readonly ending = new AbortController()
  private isRetrying = false

  constructor(private readonly init: LocalHostInit) {
    const { ops } = init
    this.table = new PageTable(createSlabFrameProvider(init.cacheBytes), this, zeroCounters())
    this.space = this.table.add(init.space)
    const { table, space } = this
    this.faults = new HookFaults({ table, space, ops })
    this.writebacks = new HookWritebacks({ table, space, ops })
  }

  // ---- the host of pages

  get lost(): AbortSignal {
    return this.ending.signal
  }

  now(): number {
    return this.init.clock.now()
  }

  isLeaseValid(): boolean {
    return true
  }

  whenActive(): Promise<void> {
    return Promise.resolve()
  }

  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    const { clock, timeoutMs } = this.init
    const onTimeout = (): Error =>
      // Without a hook under way, the call waits for a pin.
      (this.faults.count + this.writebacks.count === 0 ? onBusy?.() : undefined) ??
      new UnavailableError(`the address space's hooks have not answered (waited ${timeoutMs} ms)`)
    return waitFor(start, { clock, timeoutMs, signal, onTimeout })
  }

  flush(_file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    return this.writebacks.flush(first, last, done, fail)
  }

  startWriting(_file: number, first: number, last: number, started: () => void): number {
    return this.writebacks.startWriting(first, last, started)
  }

  end(): void {
    this.ended = new ClosedError('the address space')
    this.table.remove(this.space.file, this.ended)
    this.writebacks.end()
    this.ending.abort(this.ended)
  }

  /** Fails everything that waits for a page. */
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

  // ---- the page table's backend

  get canFault(): boolean {
    return this.faults.isBelowLimit
  }

  fault(page: Page, access: Access): void {
    this.faults.fault(page, access)
  }

  dropFault(page: Page): void {
    this.faults.drop(page)
  }

  abandoned(page: Page): void {
    this.faults.drop(page)
    this.retrySoon()
  }

  unmapped(page: Page): void {
    this.faults.unmapped(page)
  }

  released(): void {
    // No leader demotes pages here. But the page may be dirty now, and other accesses may wait for its frame.
    this.retrySoon()
  }

  writeBack(pages: readonly Page[]): void {
    this.writebacks.writeBack(pages)
  }

  /** Lets other accesses try again, after everything that ends in this turn has ended. */
  private retrySoon(): void {
    if (this.isRetrying) return
    this.isRetrying = true
    queueMicrotask(() => {
      this.isRetrying = false
      this.table.retry()
    })
  }
}
