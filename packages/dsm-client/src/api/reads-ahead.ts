/** Gets pages before the program reads them. */
import { ReadAhead, type ReadPattern } from '../core/index.js'
import type { OpenFile } from '../host.js'

/** A stream is at most this far ahead of its reader. */
const MAX_AHEAD_BYTES = 1024 * 1024
/** The share of the cache that one stream may fill with pages that nobody has read. */
const CACHE_SHARE = 1 / 8

/** Gets pages ahead of the reads of one mapping or file handle. */
export class ReadsAhead {
  private readonly stream: ReadAhead

  /** Never asks for bytes from `end` on. */
  constructor(
    private readonly file: OpenFile,
    private readonly end = Infinity
  ) {
    const { capacityBytes } = file.host.table.frames
    const bytes = Math.min(MAX_AHEAD_BYTES, capacityBytes * CACHE_SHARE)
    this.stream = new ReadAhead(Math.floor(bytes / file.pageSize))
  }

  follow(pattern: ReadPattern): void {
    this.stream.pattern = pattern
  }

  /** The program reads the range. Its own faults come first: call this after them. */
  read(offset: number, length: number): void {
    if (length === 0) return
    const { pageSize, space, host } = this.file
    const runs = this.stream.read(Math.floor(offset / pageSize), Math.ceil((offset + length) / pageSize))
    if (runs.length === 0) return
    const pages = Math.ceil(Math.min(this.end, space.size) / pageSize)
    for (const { first, end } of runs) {
      for (let index = first; index < Math.min(end, pages); index++) {
        if (!host.table.readAhead(space, index, this.stream)) return this.stream.stopped(index)
      }
    }
  }
}

/** Asks for the pages of the range that are not here, up to half of the cache, and does not wait for them. */
export function prefetch({ host, space, pageSize }: OpenFile, offset: number, length: number): void {
  const { table } = host
  const first = Math.floor(offset / pageSize)
  const end = Math.ceil(Math.min(offset + length, space.size) / pageSize)
  const most = Math.floor(table.frames.capacityBytes / 2 / pageSize)
  for (let index = first; index < Math.min(end, first + most); index++) table.prefetch(space, index, 'read', () => {})
}
