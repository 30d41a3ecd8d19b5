/** Frames that other threads of the program reach through a page table in shared memory. */
import { MIN_PAGE_BYTES } from '@quire/protocol'
import { SlabFrames, type Frame, type FramedPage, type PageAccess } from './frames.js'
import { SharedPageTable } from './shared-page-table.js'

export interface SharedFramesInit {
  readonly cacheBytes: number
  /** A slab has come, or, without memory, has gone. Comes before a page of the slab is mapped. */
  readonly onSlab: (number: number, memory: SharedArrayBuffer | undefined) => void
  /** See `SharedPageTable`. */
  readonly sleep: (words: Int32Array, entry: number, word: number) => void
}

/** Keeps the shared page table in step with the pages. */
export class SharedFrames extends SlabFrames {
  override readonly isMapped = true
  readonly table: SharedPageTable
  private readonly entries = new Map<Frame, number>()
  private readonly slabNumbers = new Map<SharedArrayBuffer, number>()
  private lastSlab = 0
  private readonly onSlab: SharedFramesInit['onSlab']

  constructor({ cacheBytes, onSlab, sleep }: SharedFramesInit) {
    super(cacheBytes)
    this.table = new SharedPageTable(this.capacityBytes / MIN_PAGE_BYTES, sleep)
    this.onSlab = onSlab
  }

  override protect({ space, index, frame }: FramedPage, access: PageAccess, length: number): void {
    if (frame === undefined) return
    const entry = this.entries.get(frame)
    if (access === 'invalid') {
      if (entry === undefined) return
      this.entries.delete(frame)
      return this.table.remove(entry)
    }
    if (entry !== undefined) return this.table.change(entry, access, length)
    const { buffer, byteOffset: offset } = frame.bytes
    const slab = this.slabNumbers.get(buffer as SharedArrayBuffer)!
    this.entries.set(frame, this.table.add({ space, page: index, slab, offset, length, access }))
  }

  override takeUsed({ frame }: FramedPage): boolean {
    const entry = frame && this.entries.get(frame)
    return entry !== undefined && this.table.takeUsed(entry)
  }

  protected override slabAdded(memory: SharedArrayBuffer): void {
    const number = ++this.lastSlab
    this.slabNumbers.set(memory, number)
    this.onSlab(number, memory)
  }

  protected override slabRemoved(memory: SharedArrayBuffer): void {
    const number = this.slabNumbers.get(memory)!
    this.slabNumbers.delete(memory)
    this.onSlab(number, undefined)
  }
}
