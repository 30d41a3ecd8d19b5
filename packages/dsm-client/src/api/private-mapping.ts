/** Private mappings: each page follows the file until the first write copies it (kernel: MAP_PRIVATE). */
import { PinConflictError, type Access } from '@quire/protocol'
import { PrivateCopies, type Frame } from '../core/index.js'
import { MappingBase, type MappingInit } from './mapping-base.js'
import { checkUsable, eachPage, eachPart, readPages, SizeMoved } from './page-io.js'
import { pinRange } from './pinned-range.js'
import type { PinnedRange } from '../types.js'
import { throwIfAborted } from '../waiting.js'

export function createPrivateMapping(init: MappingInit): MappingBase {
  return new PrivateMapping(init)
}

/** Implements the accesses of a private mapping. */
class PrivateMapping extends MappingBase {
  private readonly copies: PrivateCopies
  private isDropped = false

  constructor(init: MappingInit) {
    super(init)
    this.copies = new PrivateCopies(this.open.host.table.frames)
    this.open.space.privateCopies.add(this.copies)
  }

  protected async readAt(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    // Read runs of pages without copies as a shared mapping does.
    for (let at = 0; at < target.length;) {
      const length = this.runLength(offset + at, target.length - at)
      const part = target.subarray(at, at + length)
      const copy = this.copyAt(offset + at)
      if (copy !== undefined) part.set(copy.subarray(0, length))
      else await readPages(this.open, offset + at, part, signal)
      // A page that was the file's at the check still is, or this mapping has copied it since.
      at += length
    }
  }

  protected async writeAt(
    offset: number,
    bytes: Uint8Array,
    _written: Set<number>,
    signal?: AbortSignal
  ): Promise<void> {
    throwIfAborted(signal)
    const { pageSize } = this.open
    for (let at = 0; at < bytes.length;) {
      const index = Math.floor((offset + at) / pageSize)
      const length = Math.min(bytes.length - at, (index + 1) * pageSize - offset - at)
      // Meanwhile another call may have made the copy, or a truncation dropped it.
      while (this.copies.get(index) === undefined) await this.makeCopy(index, signal)
      if (offset + at + length > this.open.space.size) throw new SizeMoved()
      this.copyAt(offset + at)!.set(bytes.subarray(at, at + length))
      at += length
    }
  }

  protected tryReadAt(offset: number, target: Uint8Array): boolean {
    const { host, id, pageSize } = this.open
    const indexes = this.pagesOf(offset, target.length)
    const isReady = (index: number): boolean =>
      this.copies.get(index) !== undefined || host.table.allows(id, index, index, 'read')
    if (!indexes.every(isReady)) return false
    eachPart(pageSize, offset, target.length, (index, from, to, at) => {
      const page = this.copies.get(index) ?? host.table.touch(id, index, 'read')
      target.set(page.subarray(from, to), at)
    })
    return host.isLeaseValid()
  }

  protected tryWriteAt(offset: number, bytes: Uint8Array): boolean {
    const { pageSize } = this.open
    const indexes = this.pagesOf(offset, bytes.length)
    if (!indexes.every((index) => this.copies.get(index) !== undefined)) return false
    eachPart(pageSize, offset, bytes.length, (index, from, to, at) =>
      this.copies.get(index)!.set(bytes.subarray(at, at + to - from), from)
    )
    return true
  }

  protected async pinAt(offset: number, length: number, access: Access, signal?: AbortSignal): Promise<PinnedRange> {
    const indexes = this.pagesOf(offset, length)
    const [first] = indexes as [number]
    const count = indexes.length
    const own = this.copies.count(first, count)
    if (access === 'read' && own === 0) return pinRange(this.open, offset, length, access, signal)
    // The pages of the file would have to lie beside the copies.
    if (access === 'read' && own < count) throw new PinConflictError(this.open.path, offset, length)
    while (!this.copies.isContiguous(first, count)) {
      if (this.copies.isPinned(first, count)) throw new PinConflictError(this.open.path, offset, length)
      await this.layOut(first, count, signal)
    }
    if (offset + length > this.open.space.size) throw new SizeMoved()
    const { buffer, byteOffset } = this.copies.get(first)!
    const bytes = new Uint8Array(buffer, byteOffset + (offset % this.open.pageSize), length)
    const unpin = this.copies.pin(first, count)
    return new PrivatePin(bytes, this.open.host.lost, () => {
      unpin()
      this.framesFreed()
    })
  }

  /** Does nothing: private copies never become durable. */
  protected syncAt(): Promise<void> {
    return Promise.resolve()
  }

  protected flush(): Promise<void> {
    return Promise.resolve()
  }

  protected drop(): void {
    this.isDropped = true
    this.open.space.privateCopies.delete(this.copies)
    this.copies.discard(0, Infinity)
    this.framesFreed()
  }

  /** Lets other accesses use frames that came free. */
  private framesFreed(): void {
    this.open.host.table.pumpFaults()
  }

  /** Tries to give the page a copy. Another call may make it first, or drop it again. */
  private async makeCopy(index: number, signal?: AbortSignal): Promise<void> {
    const [frame] = await this.takeFrames(1, signal)
    const left = new Map([[index, frame!]])
    try {
      // Another call may have made the copy while this one waited for a frame.
      if (this.copies.get(index) === undefined) await this.copyPage(index, left, signal)
    } finally {
      this.giveBack(left)
    }
  }

  /**
   * Tries to put copies of all pages into frames that follow one another. Other calls may drop or pin copies meanwhile.
   */
  private async layOut(first: number, count: number, signal?: AbortSignal): Promise<void> {
    const frames = await this.takeFrames(count, signal)
    const left = new Map(frames.map((frame, i) => [first + i, frame]))
    try {
      for (const index of [...left.keys()]) {
        if (this.copies.get(index) === undefined) await this.copyPage(index, left, signal)
      }
      // Check and move in one step: a pinned copy must stay in its place.
      if (this.copies.count(first, count) < count || this.copies.isPinned(first, count)) return
      for (const [index, frame] of left) {
        this.copies.move(index, frame)
        left.delete(index)
      }
    } finally {
      this.giveBack(left)
    }
  }

  /**
   * Makes the copy in the page's frame, and takes that frame out of `left`. Does neither if there is a copy or the
   * lease is invalid.
   */
  private async copyPage(index: number, left: Map<number, Frame>, signal?: AbortSignal): Promise<void> {
    const { host, pageSize, space } = this.open
    this.checkMapped()
    const start = index * pageSize
    if (start >= space.size) throw new SizeMoved()
    // Copy in the step that has access: the copy starts with the bytes of the file at that moment.
    await eachPage(this.open, 'read', start, Math.min(pageSize, space.size - start), signal, (page) => {
      if (this.isDropped || this.copies.get(index) !== undefined) return
      this.copies.add(index, left.get(index)!, page)
      // After the copy, because the process may have been stopped in between.
      if (host.isLeaseValid()) left.delete(index)
      else this.copies.forget(index)
    })
    this.checkMapped()
    if (left.has(index)) await host.whenActive(signal)
  }

  private giveBack(frames: ReadonlyMap<number, Frame>): void {
    const { host } = this.open
    for (const frame of frames.values()) host.table.frames.releaseFrame(frame)
    this.framesFreed()
  }

  private takeFrames(count: number, signal?: AbortSignal): Promise<readonly Frame[]> {
    const { host, pageSize } = this.open
    return host.wait((resolve, reject) => {
      checkUsable(this.open)
      const withdraw = host.table.frames.wantFrames(pageSize, count, resolve, reject)
      return withdraw
    }, signal)
  }

  /** Returns the bytes of the page's copy from this offset on, if there is a copy. */
  private copyAt(offset: number): Uint8Array | undefined {
    const { pageSize } = this.open
    return this.copies.get(Math.floor(offset / pageSize))?.subarray(offset % pageSize)
  }

  /** Returns how many bytes from `offset` on lie in one copy, or in pages of the file. */
  private runLength(offset: number, length: number): number {
    const { pageSize } = this.open
    const index = Math.floor(offset / pageSize)
    let end = index + 1
    if (this.copies.get(index) === undefined) {
      while (end * pageSize < offset + length && this.copies.get(end) === undefined) end++
    }
    return Math.min(length, end * pageSize - offset)
  }

  private pagesOf(offset: number, length: number): number[] {
    const { pageSize } = this.open
    if (length === 0) return []
    const first = Math.floor(offset / pageSize)
    const last = Math.floor((offset + length - 1) / pageSize)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  }
}

/** A pin of private copies. */
class PrivatePin implements PinnedRange {
  /** No other client can want private copies. */
  readonly wanted = false
  private isHeld = true

  constructor(
    readonly bytes: Uint8Array,
    readonly lost: AbortSignal,
    private readonly unpin: () => void
  ) {}

  release(): void {
    if (!this.isHeld) return
    this.isHeld = false
    this.unpin()
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
