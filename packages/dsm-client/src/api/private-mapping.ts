/**
 * Private mappings: pages follow the file until they are written to, and are the mapping's own from then on (kernel:
 * MAP_PRIVATE).
 */
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

class PrivateMapping extends MappingBase {
  private readonly copies: PrivateCopies
  private isDropped = false

  constructor(init: MappingInit) {
    super(init)
    this.copies = new PrivateCopies(this.open.host.table.frames)
    this.open.space.privateCopies.add(this.copies)
  }

  protected async readAt(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    // Runs of pages that are all the file's go the way of a shared mapping.
    for (let at = 0; at < target.length;) {
      const length = this.runLength(offset + at, target.length - at)
      const part = target.subarray(at, at + length)
      const copy = this.copyAt(offset + at)
      if (copy !== undefined) part.set(copy.subarray(0, length))
      else await readPages(this.open, offset + at, part, signal)
      // What was the file's when it was looked at is so still, or has become the mapping's own since.
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
      // Another call may have made the copy, or a truncation taken it, while this one waited.
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
    host.drain()
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
    // To read, pages that follow the file would have to lie beside pages that do not.
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

  /** Nothing of it is ever durable. */
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

  /** Somebody may wait for them. */
  private framesFreed(): void {
    this.open.host.table.pumpFaults()
    this.open.host.drain()
  }

  /** Gives the page a copy, unless somebody else has or takes it away again. */
  private async makeCopy(index: number, signal?: AbortSignal): Promise<void> {
    const [frame] = await this.takeFrames(1, signal)
    const left = new Map([[index, frame!]])
    try {
      // Another call may have made it while this one waited for room.
      if (this.copies.get(index) === undefined) await this.copyPage(index, left, signal)
    } finally {
      this.giveBack(left)
    }
  }

  /**
   * Makes copies of pages in frames that follow one another, and moves those that are there. Others may undo it, or pin
   * them, meanwhile.
   */
  private async layOut(first: number, count: number, signal?: AbortSignal): Promise<void> {
    const frames = await this.takeFrames(count, signal)
    const left = new Map(frames.map((frame, i) => [first + i, frame]))
    try {
      for (const index of [...left.keys()]) {
        if (this.copies.get(index) === undefined) await this.copyPage(index, left, signal)
      }
      // In one step with the look at the pins: a pinned copy must stay where it is.
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
   * Makes the copy in the page's frame of `left`, which is the copy's from then on. Not so if there is a copy now, or
   * if what was copied may be stale.
   */
  private async copyPage(index: number, left: Map<number, Frame>, signal?: AbortSignal): Promise<void> {
    const { host, pageSize, space } = this.open
    this.checkMapped()
    const start = index * pageSize
    if (start >= space.size) throw new SizeMoved()
    // In one step with the look at the page: what the file holds at that moment is what the copy begins with.
    await eachPage(this.open, 'read', start, Math.min(pageSize, space.size - start), signal, (page) => {
      if (this.isDropped || this.copies.get(index) !== undefined) return
      this.copies.add(index, left.get(index)!, page)
      // Looked at after the copy: the process may have stood still in between.
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
      host.drain()
      return withdraw
    }, signal)
  }

  /** The bytes of the own copy from this offset on, if there is one. */
  private copyAt(offset: number): Uint8Array | undefined {
    const { pageSize } = this.open
    return this.copies.get(Math.floor(offset / pageSize))?.subarray(offset % pageSize)
  }

  /** How far the bytes from `offset` on are of one kind: one own copy, or pages of the file. */
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

class PrivatePin implements PinnedRange {
  /** Nobody else can want it. */
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
