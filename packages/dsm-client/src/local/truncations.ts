/** Changes of the size of an address space without a cluster. */
import { BusyError } from '@quire/protocol'
import { unmapPages } from '../api/address-space.js'
import { checkUsable } from '../api/page-io.js'
import type { Page } from '../core/index.js'
import type { OpenFile } from '../host.js'
import { throwIfAborted, untilAborted } from '../waiting.js'
import type { LocalHost } from './local-host.js'

/** Truncates an address space in the order in which the kernel truncates a file. */
export class Truncations {
  /** Ends with the newest truncation and all before it. Never rejects. */
  private last: Promise<void> = Promise.resolve()

  constructor(
    private readonly host: LocalHost,
    private readonly file: OpenFile
  ) {}

  async truncate(size: number, signal: AbortSignal | undefined): Promise<void> {
    const abort = new AbortController()
    // One after the other: pages that a truncation drops late could be from after the next one has grown the space
    // again.
    const cut = this.last.then(() => this.cut(size, abort.signal))
    this.last = cut.catch(() => {})
    const start = (resolve: () => void, reject: (error: Error) => void): (() => void) => {
      cut.then(resolve, reject)
      return () => abort.abort()
    }
    await this.host.wait<void>(start, signal, () => new BusyError(this.file.path, size))
  }

  /**
   * Publishes the size, unmaps, waits for pins and writebacks, drops, and unmaps again, because a private copy can
   * appear in between. Once it has published the size, it goes on even if the caller leaves: other calls have seen the
   * size.
   */
  private async cut(size: number, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal)
    checkUsable(this.file)
    const { space, pageSize } = this.file
    if (size >= space.size) {
      space.size = size
      return
    }
    await this.shorten(size, signal)
    const first = Math.ceil(size / pageSize)
    unmapPages(this.file, first, Infinity, true)
    await this.discard(first)
    unmapPages(this.file, first, Infinity, true)
  }

  /** Sets the size and zeros the rest of its last page in one step. A rejection leaves both as they were. */
  private async shorten(size: number, signal: AbortSignal): Promise<void> {
    const { host } = this
    const { space } = this.file
    const tail = size % space.pageSize
    const index = Math.floor(size / space.pageSize)
    if (tail === 0) {
      space.size = size
      return
    }
    await host.wait<void>((resolve, reject) => {
      const run = (bytes: Uint8Array): void => {
        space.size = size
        bytes.fill(0, tail)
        resolve()
      }
      return host.table.access(space.file, index, { access: 'write', pin: false, run, fail: reject })
    }, signal)
  }

  /**
   * Waits until no page from `first` on is pinned or being written, then drops them all (kernel: truncate_inode_pages).
   * A page that was dropped during its write would come back, with its bytes from where the hook wrote them. Rejects
   * when the space is closed.
   */
  private async discard(first: number): Promise<void> {
    const { host } = this
    const { space } = this.file
    // A pin in the making must not delay the truncation.
    host.table.pins.giveWay(space, first, Infinity)
    for (;;) {
      const pages = space.between(first, Infinity)
      const writes = host.writebacks.from(first)
      if (pages.some((page) => page.pinned)) await this.unlessEnded(this.whenUnpinned(pages))
      else if (writes.length > 0) await this.unlessEnded(Promise.all(writes))
      else return this.drop(pages)
    }
  }

  private whenUnpinned(pages: readonly Page[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.host.table.whenUnpinned(this.file.space, pages, resolve, reject)
    })
  }

  private unlessEnded<T>(promise: Promise<T>): Promise<T> {
    return untilAborted(promise, this.host.lost)
  }

  private drop(pages: readonly Page[]): void {
    const { table, writebacks } = this.host
    for (const page of pages) {
      page.invalidate()
      page.dirty = false
      page.changed = false
      for (const flush of page.flushes.splice(0)) flush.done()
      writebacks.rewritten(page)
      this.host.unmapped(page)
      table.accessReduced(page)
    }
    table.pumpFaults()
  }
}
