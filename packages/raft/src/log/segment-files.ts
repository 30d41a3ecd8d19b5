import { assert, NoDescriptorsError } from '@quire/protocol'
import type { Disk, DiskFile, ReadFile } from './disk.js'
import type { Segment } from './segment.js'

/** Older segments that stay open between reads: enough for a few followers that are behind by different amounts. */
const MAX_READ_FILES = 3

/**
 * Limits how many segments of a log are open at once.
 *
 * Open are the segment that is being written, and the older ones that were read most recently.
 */
export class SegmentFiles {
  private written: { readonly segment: Segment; readonly file: DiskFile } | undefined
  /** Keyed by segment number, least recently used first. */
  private readonly read = new Map<number, ReadFile>()
  private closed = false

  constructor(private readonly disk: Disk) {}

  /** The file that is being written. */
  get current(): DiskFile {
    assert(this.written !== undefined, 'no segment is being written')
    return this.written.file
  }

  /** Makes `segment` the one that is written. Resolves when the previous file is closed. */
  async begin(segment: Segment, file: DiskFile): Promise<void> {
    const before = this.written?.file
    this.written = { segment, file }
    await before?.close().catch(ignore)
  }

  /** Reads bytes of a segment; undefined if the segment cannot be opened now for lack of a file descriptor. */
  bytes(segment: Segment, offset: number, length: number): Uint8Array | undefined {
    assert(!this.closed, `${segment.name} is read after the log was closed`)
    if (this.written?.segment === segment) return this.written.file.read(offset, length)
    return this.opened(segment)?.read(offset, length)
  }

  /** Closes a segment that is being removed: an open file would keep its space. */
  forget({ number }: Segment): void {
    const file = this.read.get(number)
    this.read.delete(number)
    file?.close()
  }

  async close(): Promise<void> {
    this.closed = true
    while (this.read.size > 0) this.closeOldest()
    await this.written?.file.close()
    this.written = undefined
  }

  private opened({ name, number }: Segment): ReadFile | undefined {
    let file = this.read.get(number)
    if (file === undefined) {
      if (this.read.size >= MAX_READ_FILES) this.closeOldest()
      file = this.open(name)
      if (file === undefined) return undefined
    }
    this.read.delete(number)
    this.read.set(number, file)
    return file
  }

  private open(name: string): ReadFile | undefined {
    for (;;) {
      try {
        return this.disk.openForReading(name)
      } catch (error) {
        if (!(error instanceof NoDescriptorsError)) throw error
        // Closing another file of this log frees a descriptor for this read.
        if (this.read.size === 0) return undefined
        this.closeOldest()
      }
    }
  }

  private closeOldest(): void {
    const [oldest] = this.read
    if (oldest === undefined) return
    this.read.delete(oldest[0])
    oldest[1].close()
  }
}

function ignore(): void {
  // O_DSYNC has made everything written durable already, so a failed close loses nothing.
}
