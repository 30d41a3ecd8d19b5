import { assert, NoDescriptorsError } from '@quire/protocol'
import type { Disk, DiskFile, ReadFile } from './disk.js'
import type { Segment } from './segment.js'

/** Older segments that stay open between two reads: room for a few followers, each behind by a different amount. */
export const MAX_READ_FILES = 3

/**
 * The open files of a log: the segment being written, and a few older ones that were read most recently. Their number does not
 * depend on how many segments the log has.
 */
export class SegmentFiles {
  private written: { readonly segment: Segment; readonly file: DiskFile } | undefined
  /** By segment number, the least recently used first. */
  private readonly read = new Map<number, ReadFile>()
  private closed = false

  constructor(private readonly disk: Disk) {}

  /** The segment that is being written. */
  get current(): DiskFile {
    assert(this.written !== undefined, 'no segment is being written')
    return this.written.file
  }

  /** Writing continues in `segment`. Resolves when the file written before is closed. */
  async begin(segment: Segment, file: DiskFile): Promise<void> {
    const before = this.written?.file
    this.written = { segment, file }
    await before?.close().catch(ignore)
  }

  /** Undefined when the segment cannot be opened now for want of a file descriptor. */
  bytes(segment: Segment, offset: number, length: number): Uint8Array | undefined {
    assert(!this.closed, `${segment.name} is read after the log was closed`)
    if (this.written?.segment === segment) return this.written.file.read(offset, length)
    return this.opened(segment)?.read(offset, length)
  }

  /** The segment is being removed; an open file would keep its space. */
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
        // A descriptor of our own serves this read as well as any.
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
  // Everything written through it is durable already (O_DSYNC): closing has nothing left to fail at.
}
