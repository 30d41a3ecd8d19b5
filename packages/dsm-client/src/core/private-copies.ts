/**
 * Copies of the pages that a private mapping has written to (kernel: anonymous pages of a private file mapping). The
 * client never writes them back.
 */
import { assert } from '@quire/protocol'
import type { DiscardableCopies } from './address-space.js'
import type { Frame } from './frames.js'
import type { PageFrames } from './page-frames.js'

interface Copy {
  frame: Frame
  pins: number
  /** The file's page is gone, and the copy with it. A pin keeps the memory. */
  isGone: boolean
}

/** Holds the copies of one private mapping. */
export class PrivateCopies implements DiscardableCopies {
  private readonly copies = new Map<number, Copy>()

  constructor(private readonly frames: PageFrames) {}

  get(index: number): Uint8Array | undefined {
    return this.copies.get(index)?.frame.bytes
  }

  /** Returns how many of the `count` pages from `first` on have a copy. */
  count(first: number, count: number): number {
    let found = 0
    for (let i = 0; i < count; i++) if (this.copies.has(first + i)) found++
    return found
  }

  /** Copies on write: `bytes` is the file's page at this moment. The frame belongs to the copy from now on. */
  add(index: number, frame: Frame, bytes: Uint8Array): void {
    frame.bytes.set(bytes)
    this.copies.set(index, { frame, pins: 0, isGone: false })
  }

  /** Undoes an `add` of the same turn. The frame belongs to the caller again. */
  forget(index: number): void {
    this.copies.delete(index)
  }

  /** Every page of the range has a copy, and the copies follow one another in memory. */
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

  /** Moves an unpinned copy to another frame. That frame belongs to the copy from now on. */
  move(index: number, frame: Frame): void {
    const copy = this.copies.get(index)!
    assert(copy.pins === 0, `the private copy of page ${index} is moved under ${copy.pins} pins`)
    frame.bytes.set(copy.frame.bytes)
    this.frames.releaseFrame(copy.frame)
    copy.frame = frame
  }

  /**
   * Keeps the memory of these copies until the caller calls the returned function. Frames may come free then: see
   * `PageTable.pumpFaults`.
   */
  pin(first: number, count: number): () => void {
    const pinned = Array.from({ length: count }, (_, i) => this.copies.get(first + i)!)
    for (const copy of pinned) copy.pins++
    return () => {
      for (const copy of pinned) {
        copy.pins--
        if (copy.isGone && copy.pins === 0) this.frames.releaseFrame(copy.frame)
      }
    }
  }

  mark(first: number, end: number): () => void {
    const marked = [...this.copies].filter(([index]) => index >= first && index < end)
    return () => {
      for (const [index, copy] of marked) if (this.copies.get(index) === copy) this.drop(index, copy)
    }
  }

  /** The file's pages in the range are gone, and their copies with them (kernel: even_cows). */
  discard(first: number, end: number): void {
    for (const [index, copy] of this.copies) {
      if (index >= first && index < end) this.drop(index, copy)
    }
  }

  private drop(index: number, copy: Copy): void {
    this.copies.delete(index)
    copy.isGone = true
    if (copy.pins === 0) this.frames.releaseFrame(copy.frame)
  }
}
