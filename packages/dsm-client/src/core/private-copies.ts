/** The pages of a private mapping that were written to (kernel: anonymous pages of a private file mapping). Never written back. */
import { assert } from '@quire/protocol'
import type { DiscardableCopies } from './address-space.js'
import type { Frame } from './frames.js'
import type { PageTable } from './page-table.js'

interface Copy {
  frame: Frame
  pins: number
  /** The file's page is gone, and the copy with it; a pin keeps the memory. */
  isGone: boolean
}

export class PrivateCopies implements DiscardableCopies {
  private readonly copies = new Map<number, Copy>()

  constructor(private readonly table: PageTable) {}

  get(index: number): Uint8Array | undefined {
    return this.copies.get(index)?.frame.bytes
  }

  /** How many of the pages from `first` on have a copy. */
  count(first: number, count: number): number {
    let found = 0
    for (let i = 0; i < count; i++) if (this.copies.has(first + i)) found++
    return found
  }

  /** Copy on write: `bytes` is the page as the file has it at this moment. Takes the frame. */
  add(index: number, frame: Frame, bytes: Uint8Array): void {
    frame.bytes.set(bytes)
    this.copies.set(index, { frame, pins: 0, isGone: false })
  }

  /** Takes back what `add` has just done; the frame is the caller's again. */
  forget(index: number): void {
    this.copies.delete(index)
  }

  /** The copies lie next to each other in memory, all of them. */
  isContiguous(first: number, count: number): boolean {
    const start = this.get(first)
    if (start === undefined) return false
    for (let i = 1; i < count; i++) {
      const bytes = this.get(first + i)
      if (bytes?.buffer !== start.buffer || bytes.byteOffset !== start.byteOffset + i * start.length) return false
    }
    return true
  }

  isPinned(first: number, count: number): boolean {
    for (let i = 0; i < count; i++) if ((this.copies.get(first + i)?.pins ?? 0) > 0) return true
    return false
  }

  /** Moves the copy, which nobody has pinned, to another frame, which lies where it should. Takes the frame. */
  move(index: number, frame: Frame): void {
    const copy = this.copies.get(index)!
    assert(copy.pins === 0, `the private copy of page ${index} is moved under ${copy.pins} pins`)
    frame.bytes.set(copy.frame.bytes)
    this.table.releaseFrame(copy.frame)
    copy.frame = frame
  }

  /** Keeps the memory of these copies until the returned function is called. Frames may be free then: see `PageTable.pumpFaults`. */
  pin(first: number, count: number): () => void {
    const pinned = Array.from({ length: count }, (_, i) => this.copies.get(first + i)!)
    for (const copy of pinned) copy.pins++
    return () => {
      for (const copy of pinned) {
        copy.pins--
        if (copy.isGone && copy.pins === 0) this.table.releaseFrame(copy.frame)
      }
    }
  }

  /** Returns what discards the copies that are there now, from `first` up to but without `end`; those that are made later stay. */
  mark(first: number, end: number): () => void {
    const marked = [...this.copies].filter(([index]) => index >= first && index < end)
    return () => {
      for (const [index, copy] of marked) if (this.copies.get(index) === copy) this.take(index, copy)
    }
  }

  /** even_cows: the file's pages here are gone, and so are their copies. From `first` up to but without `end`. */
  discard(first: number, end: number): void {
    for (const [index, copy] of this.copies) {
      if (index >= first && index < end) this.take(index, copy)
    }
  }

  private take(index: number, copy: Copy): void {
    this.copies.delete(index)
    copy.isGone = true
    if (copy.pins === 0) this.table.releaseFrame(copy.frame)
  }
}
