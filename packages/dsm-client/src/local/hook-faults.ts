/** Calls of the hooks that fill pages. */
import { PastEndError, type Access } from '@quire/protocol'
import type { AddressSpacePages, Page, PageTable } from '../core/index.js'
import { SizeMoved } from '../api/page-io.js'
import type { VmOperations } from '../local-types.js'
import { asError } from './as-error.js'

const MAX_FAULTS = 256

interface Fault {
  readonly page: Page
  readonly abort: AbortController
  /** The bytes that the page gets; undefined: it keeps its bytes. */
  readonly fill: Uint8Array | undefined
  /** The program unmapped the page after the call of the hook, whose bytes are from before. */
  isVoid: boolean
}

export interface HookFaultsInit {
  readonly table: PageTable
  readonly space: AddressSpacePages
  readonly ops: Pick<VmOperations, 'noPage' | 'wpPage'>
}

/** Turns faults into calls of `noPage` and `wpPage`. */
export class HookFaults {
  private readonly faults = new Map<number, Fault>()
  private nextFault = 1

  constructor(private readonly init: HookFaultsInit) {}

  get count(): number {
    return this.faults.size
  }

  get isBelowLimit(): boolean {
    return this.faults.size < MAX_FAULTS
  }

  /**
   * Calls the hook with a buffer of its own. Meanwhile the page may move in memory, be evicted or be closed, and a hook
   * that finishes late must not write into memory that serves another page by then. Holding the frame instead would
   * make pins and evictions wait for hooks. The price is a buffer and a copy of a page for each fault; a hit costs
   * nothing.
   */
  fault(page: Page, access: Access): void {
    const { ops } = this.init
    const req = this.nextFault++
    const { index } = page
    const isUpgrade = page.access === 'shared'
    const bytes = isUpgrade ? page.frame!.bytes.slice() : new Uint8Array(page.pageSize)
    // Dirty bytes are newer than the hook's, even if a writeback cleans them before the hook is done.
    const fill = isUpgrade || page.dirty ? undefined : bytes
    const abort = new AbortController()
    page.req = req
    this.faults.set(req, { page, abort, fill, isVoid: false })
    const fault = { index, count: 1, access, frames: [bytes], signal: abort.signal }
    // The promise also catches what a hook throws at once.
    new Promise<void>((resolve) => resolve(isUpgrade ? ops.wpPage(fault) : ops.noPage(fault))).then(
      () => this.resolved(req, access),
      (error: unknown) => this.rejected(req, error)
    )
  }

  /** Aborts the page's fault, and ignores its outcome. */
  drop(page: Page): void {
    this.end(page.req)?.abort.abort()
  }

  /** The program unmaps the page: an outstanding fault no longer fills it. */
  unmapped(page: Page): void {
    const fault = this.faults.get(page.req)
    if (fault !== undefined) fault.isVoid = true
  }

  private resolved(req: number, access: Access): void {
    const { table, space } = this.init
    const fault = this.end(req)
    if (fault === undefined) return
    const { page, fill, isVoid } = fault
    const start = page.index * page.pageSize
    if (start >= space.size) {
      table.failed(page, new SizeMoved(new PastEndError(space.path, start, space.size)))
    } else if (isVoid) {
      table.accessReduced(page)
    } else {
      if (fill !== undefined) page.frame!.bytes.set(fill)
      page.grant(access)
      table.granted(page)
    }
    table.pumpFaults()
  }

  private rejected(req: number, error: unknown): void {
    const { table } = this.init
    const fault = this.end(req)
    if (fault?.isVoid === true) table.accessReduced(fault.page)
    else if (fault !== undefined) table.failed(fault.page, asError(error))
    table.pumpFaults()
  }

  private end(req: number): Fault | undefined {
    const fault = this.faults.get(req)
    if (fault === undefined) return undefined
    this.faults.delete(req)
    fault.page.req = 0
    return fault
  }
}
