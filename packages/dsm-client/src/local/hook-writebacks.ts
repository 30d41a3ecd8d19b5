/** Calls of the hook that takes dirty pages. */
import type { AddressSpacePages, Page, PageTable } from '../core/index.js'
import type { VmOperations } from '../local-types.js'
import { asError } from './as-error.js'

/** Pages in one call of `writePages`. */
const MAX_WRITE_PAGES = 256

interface Write {
  readonly pages: readonly Page[]
  readonly done: Promise<void>
}

export interface HookWritebacksInit {
  readonly table: PageTable
  readonly space: AddressSpacePages
  readonly ops: Pick<VmOperations, 'writePages'>
}

/** Passes dirty pages to `writePages`. */
export class HookWritebacks {
  private readonly writes = new Set<Write>()
  /** Callers that wait until a page leaves once more, because the program wrote to it during its last write. */
  private readonly rewrites = new Map<Page, (() => void)[]>()

  constructor(private readonly init: HookWritebacksInit) {}

  /** Calls of `writePages` under way. */
  get count(): number {
    return this.writes.size
  }

  /** Calls of `writePages` under way with a page from `first` on. */
  from(first: number): Promise<void>[] {
    const overlapping = [...this.writes].filter((write) => write.pages.some(({ index }) => index >= first))
    return overlapping.map(({ done }) => done)
  }

  /** See `Coherence.flush`. */
  flush(first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    const dirty = this.dirty(first, last)
    for (const page of dirty) page.awaitFlush(done, fail)
    this.writeBack(dirty)
    return dirty.length
  }

  /** See `Coherence.startWriting`. */
  startWriting(first: number, last: number, started: () => void): number {
    const dirty = this.dirty(first, last)
    // The program has written to these since they left: they leave again when their current write ends.
    const again = dirty.filter((page) => page.writing && page.changed)
    for (const page of again) this.rewrites.set(page, [...(this.rewrites.get(page) ?? []), started])
    this.writeBack(dirty)
    return again.length
  }

  writeBack(pages: readonly Page[]): void {
    const ready = pages.filter((page) => page.dirty && !page.writing && this.isInside(page))
    for (let at = 0; at < ready.length; at += MAX_WRITE_PAGES) {
      const batch = ready.slice(at, at + MAX_WRITE_PAGES)
      const write = { pages: batch, done: this.write(batch).finally(() => this.writes.delete(write)) }
      this.writes.add(write)
    }
  }

  /** The page leaves again, or need not: its callers go on. */
  rewritten(page: Page): void {
    const waiting = this.rewrites.get(page) ?? []
    this.rewrites.delete(page)
    for (const started of waiting) started()
  }

  /** The address space is closed. */
  end(): void {
    for (const page of [...this.rewrites.keys()]) this.rewritten(page)
  }

  private dirty(first: number, last: number): Page[] {
    return this.init.space.between(first, last + 1).filter((page) => page.dirty && this.isInside(page))
  }

  /** A truncation is about to drop the pages beyond the end. */
  private isInside(page: Page): boolean {
    return page.index * page.pageSize < this.init.space.size
  }

  private async write(pages: readonly Page[]): Promise<void> {
    const { table, ops } = this.init
    const copies = pages.map((page) => {
      page.seq++
      page.writing = true
      // A write pin lets the program change bytes at any moment.
      page.changed = page.writePins > 0
      table.changed(page)
      return { page, seq: page.seq, dirty: { index: page.index, bytes: page.frame!.bytes.slice() } }
    })
    let failure: Error | undefined
    try {
      await ops.writePages(copies.map(({ dirty }) => dirty))
    } catch (error) {
      failure = asError(error)
    }
    for (const { page, seq } of copies) this.written(page, seq, failure)
    if (failure !== undefined) table.failStarved(failure)
    table.pumpFaults()
  }

  private written(page: Page, seq: number, failure: Error | undefined): void {
    const { table } = this.init
    if (!page.writing || page.seq !== seq) return
    page.writing = false
    if (failure === undefined) {
      if (!page.changed) page.dirty = false
      for (const flush of page.flushes.splice(0)) {
        if (flush.seq <= seq) flush.done()
        else page.flushes.push(flush)
      }
    } else {
      // A failed write never gives the page up: the page stays dirty, and each flush of it rejects.
      for (const flush of page.flushes.splice(0)) flush.fail(failure)
    }
    table.changed(page)
    // The program wrote to the page meanwhile, and a caller waits for that write to leave.
    if (page.flushes.length > 0 || this.rewrites.has(page)) this.writeBack([page])
    this.rewritten(page)
    table.forgetIfUnused(page)
  }
}
