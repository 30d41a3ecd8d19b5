/** Calls on ranges of pages of an open file: see `AddressSpace` in types.ts. */
import { BusyError } from '@quire/protocol'
import type { OpenFile } from '../host.js'
import { flushPages, startWriting } from './page-io.js'
import type { AddressSpace, CallOptions } from '../types.js'
import { checkCount } from '../validate.js'

export interface UnmapOptions {
  /** Also drops private copies in the range, because the file's pages under them are gone. Default false. */
  readonly evenCows?: boolean
}

/** `checkOpen` throws if the caller may no longer use the file. */
export function createAddressSpaceCalls(file: OpenFile, checkOpen: () => void): AddressSpace {
  return new AddressSpaceCalls(file, checkOpen)
}

/** Unmaps the pages from `first` up to but without `end` (kernel: unmap_mapping_range). */
export function unmapPages({ host, space }: OpenFile, first: number, end: number, evenCows: boolean): void {
  for (const page of space.between(first, end)) host.table.ranges.unmap(page)
  if (evenCows) for (const copies of space.privateCopies) copies.discard(first, end)
  // The copies may have freed frames.
  host.table.pumpFaults()
}

/** Implements the calls on ranges. */
class AddressSpaceCalls implements AddressSpace {
  constructor(
    private readonly file: OpenFile,
    private readonly checkOpen: () => void
  ) {}

  unmapMappingRange(start: number, length: number, { evenCows = false }: UnmapOptions = {}): void {
    const { first, end } = this.pages(start, length)
    unmapPages(this.file, first, end, evenCows)
  }

  async writeMappingRange(start: number, length: number, { signal }: CallOptions = {}): Promise<void> {
    const { offset, bytes } = this.bytes(start, length)
    await startWriting(this.file, offset, bytes, signal)
  }

  async evictMappingRange(start: number, length: number, { signal }: CallOptions = {}): Promise<void> {
    const { host, space } = this.file
    const { first, end } = this.pages(start, length)
    const { offset, bytes } = this.bytes(start, length)
    // From here on, new accesses wait until the end of the eviction: no fault maps a page again that is about to go.
    const pages = space.between(first, end)
    for (const page of pages) host.table.ranges.beginEviction(page)
    try {
      await this.whenUnpinned(pages.length === 0 ? first : pages[0]!.index, end, signal)
      await flushPages(this.file, offset, bytes, signal)
      for (const page of pages) host.table.ranges.evictIfClean(page)
    } finally {
      for (const page of pages) host.table.ranges.endEviction(page)
      host.table.pumpFaults()
    }
  }

  private whenUnpinned(first: number, end: number, signal?: AbortSignal): Promise<void> {
    const { host, space, path, pageSize } = this.file
    const start = (resolve: () => void, reject: (error: Error) => void): (() => void) =>
      host.table.whenUnpinned(space, space.between(first, end), resolve, reject)
    return host.wait<void>(start, signal, () => new BusyError(path, first * pageSize))
  }

  /** Rounds the range out to whole pages. As in the kernel, a length of 0 means to the end of the file. */
  private pages(start: number, length: number): { first: number; end: number } {
    this.checkOpen()
    checkCount('start', start)
    checkCount('length', length, 0, Number.MAX_SAFE_INTEGER - start)
    const { pageSize } = this.file
    const first = Math.floor(start / pageSize)
    return { first, end: length === 0 ? Infinity : Math.ceil((start + length) / pageSize) }
  }

  private bytes(start: number, length: number): { offset: number; bytes: number } {
    const { first, end } = this.pages(start, length)
    const { pageSize } = this.file
    const offset = first * pageSize
    return { offset, bytes: end === Infinity ? Number.MAX_SAFE_INTEGER - offset : (end - first) * pageSize }
  }
}
