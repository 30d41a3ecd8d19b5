/**
 * Frames: the memory that holds mapped bytes. A frame is a slice of a slab of shared memory. Frames of neighboring
 * pages are neighbors where possible, so that a range of pages is one range of memory.
 */
import { assert } from '@quire/protocol'

/** What a program may do with a page without a fault. `shared`: read. `modified`: read and write. */
export type PageAccess = 'invalid' | 'shared' | 'modified'

export interface Frame {
  /** `pageSize` bytes. */
  readonly bytes: Uint8Array
}

/** A file whose pages have frames. */
export interface FrameSpace {
  readonly file: number
  readonly pageSize: number
  get(index: number): { readonly frame: Frame | undefined } | undefined
}

/** A page that has a frame. */
export interface FramedPage {
  /** Number of its address space: see `FrameProvider.newSpace`. */
  readonly space: number
  readonly file: number
  readonly index: number
  readonly frame: Frame | undefined
}

/**
 * Gives out memory within a bound, and knows which page each frame serves.
 *
 * `allocate`, `allocateRun`, `protect` and `free` are the only doors through which pages get frames and programs get
 * access to them. A provider that maps frames into a program's memory maps, protects and unmaps in these calls, and
 * nowhere else.
 */
export interface FrameProvider {
  readonly capacityBytes: number
  readonly usedBytes: number
  /** Programs reach frames without the page table, as far as `protect` lets them. */
  readonly isMapped: boolean
  /** Returns a number for an address space. No two address spaces of this provider have the same. */
  newSpace(): number
  /**
   * Returns a zeroed frame for a page, beside the frame of a neighbor if that place is free, or undefined if no frame
   * is left. The program has no access to it before `protect`.
   */
  allocate(space: FrameSpace, index: number): Frame | undefined
  /**
   * Returns zeroed frames that follow one another in one buffer, for `count` pages from `first` on, or undefined if
   * there is no such place. Pages that have frames move: the caller protects them as `invalid`, copies their bytes, and
   * frees their old frames, before or after this call. The program has no access to the new frames before `protect`.
   */
  allocateRun(space: FrameSpace, first: number, count: number): readonly Frame[] | undefined
  /** As `allocateRun`, for frames that serve no page: the copies of a private mapping. */
  allocateAnonymous(pageSize: number, count: number): readonly Frame[] | undefined
  /** Whether `count` frames could follow one another if all used frames for which `isDroppable` holds were freed. */
  couldAllocateRun(pageSize: number, count: number, isDroppable: (frame: Frame) => boolean): boolean
  /**
   * From now on, the program has this access to the first `length` bytes of the page, without the page table (kernel:
   * set_pte_at, and change_protection). Returns when every access that is no longer allowed is over. A page without a
   * frame has no access.
   */
  protect(page: FramedPage, access: PageAccess, length: number): void
  /** Whether the program has used the page without the page table since the last call (kernel: the accessed bit). */
  takeUsed(page: FramedPage): boolean
  /** The program has no access to the frame: its page is protected as `invalid`, or has moved. */
  free(frame: Frame): void
}

const MAX_SLAB_BYTES = 1024 * 1024
export const MIN_CACHE_BYTES = 65_536

/** Rounds `cacheBytes` down to whole slabs, and allocates each slab when it is first needed. */
export function createSlabFrameProvider(cacheBytes: number): FrameProvider {
  return new SlabFrames(cacheBytes)
}

/** A piece of shared memory that is cut into frames of one size. */
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

/** A slice of a slab. */
class SlabFrame implements Frame {
  used = false
  constructor(
    readonly slab: Slab,
    readonly position: number,
    readonly bytes: Uint8Array
  ) {}
}

/**
 * Cuts frames from slabs of shared memory. A program reaches a frame only through calls that look at the page table, so
 * `protect` has nothing to do.
 */
export class SlabFrames implements FrameProvider {
  readonly isMapped: boolean = false
  readonly capacityBytes: number
  private spaces = 0
  private readonly slabBytes: number
  private readonly slabs = new Set<Slab>()
  /** Slabs with a free frame, by page size. */
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

  allocate(space: FrameSpace, index: number): Frame | undefined {
    const { pageSize } = space
    const before = space.get(index - 1)?.frame
    const beside =
      before !== undefined ? this.beside(pageSize, before, 1) : this.beside(pageSize, space.get(index + 1)?.frame, -1)
    const frame = beside ?? this.anywhere(pageSize)
    if (frame !== undefined) this.take(frame)
    return frame
  }

  allocateRun({ pageSize }: FrameSpace, _first: number, count: number): readonly Frame[] | undefined {
    return this.allocateAnonymous(pageSize, count)
  }

  allocateAnonymous(pageSize: number, count: number): readonly Frame[] | undefined {
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

  newSpace(): number {
    return ++this.spaces
  }

  protect(_page: FramedPage, _access: PageAccess, _length: number): void {}

  takeUsed(_page: FramedPage): boolean {
    return false
  }

  /** A slab has come or gone. */
  protected slabAdded(_memory: SharedArrayBuffer): void {}
  protected slabRemoved(_memory: SharedArrayBuffer): void {}

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

  /** Makes a larger slab than usual if one range needs it. */
  private newSlab(pageSize: number, bytes: number): Slab | undefined {
    const needed = this.roundUp(bytes)
    if (this.allocated + needed > this.capacityBytes) return undefined
    const slab = new Slab(pageSize, needed)
    this.allocated += needed
    this.slabs.add(slab)
    this.openSlabs(pageSize).add(slab)
    this.slabAdded(slab.memory)
    return slab
  }

  free(frame: Frame): void {
    assert(frame instanceof SlabFrame && frame.used, 'free of a frame that is not in use')
    const { slab } = frame
    frame.used = false
    frame.bytes.fill(0)
    slab.free++
    this.used -= slab.pageSize
    if (slab.free === slab.frames.length) {
      // Give the empty slab back: its bytes can serve pages of another size.
      this.slabs.delete(slab)
      this.allocated -= slab.bytes
      this.open.get(slab.pageSize)!.delete(slab)
      this.slabRemoved(slab.memory)
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
