/** The pages of a private mapping that were written to (kernel: anonymous pages of a private file mapping). Never written back. */
import type { Frame } from './frames.js'
import type { PageTable } from './page-table.js'

export class PrivateCopies {
  private readonly frames = new Map<number, Frame>()

  constructor(private readonly table: PageTable) {}

  get(index: number): Uint8Array | undefined {
    return this.frames.get(index)?.bytes
  }

  has(index: number): boolean {
    return this.frames.has(index)
  }

  /** Copy on write: `bytes` is the page as the file has it at this moment. Takes the frame. */
  add(index: number, frame: Frame, bytes: Uint8Array): void {
    frame.bytes.set(bytes)
    this.frames.set(index, frame)
  }

  /** even_cows: the file's pages here are gone, and so are their copies. From `first` up to but without `end`. */
  discard(first: number, end: number): void {
    for (const [index, frame] of this.frames) {
      if (index < first || index >= end) continue
      this.frames.delete(index)
      this.table.releaseFrame(frame)
    }
  }
}
