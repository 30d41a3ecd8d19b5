/**
 * Page frames: where mapped bytes live. A frame is a slice of a slab of shared memory; frames of neighbouring pages are
 * handed out next to each other where that is possible, so that a range of pages is one range of memory.
 */
import { assert } from '@quire/protocol'

export interface Frame {
  /** `pageSize` bytes. */
  readonly bytes: Uint8Array
}

/** Gives out page memory within a bound. The transparent mapping will be a second implementation. */
export interface FrameProvider {
  readonly capacityBytes: number
  readonly usedBytes: number
  /** A zeroed frame, beside `near` (after it, with `direction` 1, or before it) if that place is free. Undefined: none is left. */
  allocate(pageSize: number, near?: Frame, direction?: 1 | -1): Frame | undefined
  /** `count` zeroed frames that follow one another in one buffer. Undefined: there is no such place. */
  allocateRun(pageSize: number, count: number): readonly Frame[] | undefined
  /** Whether that would be possible if all of those in use for which `isDroppable` holds were freed. */
  couldAllocateRun(pageSize: number, count: number, isDroppable: (frame: Frame) => boolean): boolean
  free(frame: Frame): void
}

const MAX_SLAB_BYTES = 1024 * 1024
export const MIN_CACHE_BYTES = 65_536

/** `cacheBytes` is rounded down to whole slabs; slabs are allocated when first needed. */
export function createSlabFrameProvider(cacheBytes: number): FrameProvider {
  return new SlabFrames(cacheBytes)
}

class Slab {
  readonly memory: SharedArrayBuffer
  readonly frames: SlabFrame[] = []
  free: number

  constructor(
    readonly pageSize: number,
    readonly bytes: number
  ) {
    this.memory = new SharedArrayBuffer(bytes)
    this.free = bytes / pageSize
    for (let i = 0; i < this.free; i++) {
      this.frames.push(new SlabFrame(this, i, new Uint8Array(this.memory, i * pageSize, pageSize)))
    }
  }
}

class SlabFrame implements Frame {
  used = false
  constructor(
    readonly slab: Slab,
    readonly position: number,
    readonly bytes: Uint8Array
  ) {}
}

class SlabFrames implements FrameProvider {
  readonly capacityBytes: number
  private readonly slabBytes: number
  private readonly slabs = new Set<Slab>()
  /** Slabs of one page size that have a free frame. */
  private readonly open = new Map<number, Set<Slab>>()
  private used = 0
  /** Bytes of all slabs. */
  private allocated = 0

  constructor(cacheBytes: number) {
    this.slabBytes = Math.min(MAX_SLAB_BYTES, 2 ** Math.floor(Math.log2(cacheBytes)))
    this.capacityBytes = Math.floor(cacheBytes / this.slabBytes) * this.slabBytes
  }

  get usedBytes(): number {
    return this.used
  }

  allocate(pageSize: number, near?: Frame, direction: 1 | -1 = 1): Frame | undefined {
    const frame = this.beside(pageSize, near, direction) ?? this.anywhere(pageSize)
    if (frame !== undefined) this.take(frame)
    return frame
  }

  allocateRun(pageSize: number, count: number): readonly Frame[] | undefined {
    const run = this.freeRun(pageSize, count) ?? this.newSlab(pageSize, count * pageSize)?.frames.slice(0, count)
    for (const frame of run ?? []) this.take(frame)
    return run
  }

  couldAllocateRun(pageSize: number, count: number, isDroppable: (frame: Frame) => boolean): boolean {
    let keptBytes = 0
    for (const slab of this.slabs) {
      let longest = 0
      let run = 0
      for (const frame of slab.frames) {
        run = frame.used && !isDroppable(frame) ? 0 : run + 1
        longest = Math.max(longest, run)
      }
      if (slab.pageSize === pageSize && longest >= count) return true
      if (longest < slab.frames.length) keptBytes += slab.bytes
    }
    return keptBytes + this.roundUp(count * pageSize) <= this.capacityBytes
  }

  private roundUp(bytes: number): number {
    return Math.ceil(bytes / this.slabBytes) * this.slabBytes
  }

  private take(frame: SlabFrame): void {
    const { slab } = frame
    frame.used = true
    slab.free--
    if (slab.free === 0) this.open.get(slab.pageSize)!.delete(slab)
    this.used += slab.pageSize
  }

  private freeRun(pageSize: number, count: number): readonly SlabFrame[] | undefined {
    for (const slab of this.openSlabs(pageSize)) {
      let free = 0
      for (const [i, frame] of slab.frames.entries()) {
        free = frame.used ? 0 : free + 1
        if (free === count) return slab.frames.slice(i + 1 - count, i + 1)
      }
    }
    return undefined
  }

  /** Larger than usual where one range needs that. */
  private newSlab(pageSize: number, bytes: number): Slab | undefined {
    const needed = this.roundUp(bytes)
    if (this.allocated + needed > this.capacityBytes) return undefined
    const slab = new Slab(pageSize, needed)
    this.allocated += needed
    this.slabs.add(slab)
    this.openSlabs(pageSize).add(slab)
    return slab
  }

  free(frame: Frame): void {
    assert(frame instanceof SlabFrame && frame.used, 'a frame is freed that is not in use')
    const { slab } = frame
    frame.used = false
    frame.bytes.fill(0)
    slab.free++
    this.used -= slab.pageSize
    if (slab.free === slab.frames.length) {
      // An empty slab goes back, so that its bytes can serve pages of another size.
      this.slabs.delete(slab)
      this.allocated -= slab.bytes
      this.open.get(slab.pageSize)!.delete(slab)
    } else {
      this.openSlabs(slab.pageSize).add(slab)
    }
  }

  private beside(pageSize: number, near: Frame | undefined, direction: 1 | -1): SlabFrame | undefined {
    if (!(near instanceof SlabFrame) || near.slab.pageSize !== pageSize) return undefined
    const frame = near.slab.frames[near.position + direction]
    return frame !== undefined && !frame.used ? frame : undefined
  }

  private anywhere(pageSize: number): SlabFrame | undefined {
    if (this.openSlabs(pageSize).size === 0) this.newSlab(pageSize, this.slabBytes)
    for (const slab of this.openSlabs(pageSize)) {
      const frame = slab.frames.find((candidate) => !candidate.used)
      if (frame !== undefined) return frame
    }
    return undefined
  }

  private openSlabs(pageSize: number): Set<Slab> {
    let slabs = this.open.get(pageSize)
    if (slabs === undefined) {
      slabs = new Set()
      this.open.set(pageSize, slabs)
    }
    return slabs
  }
}
