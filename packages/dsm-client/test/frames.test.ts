import { describe, expect, it } from 'vitest'
import { createSlabFrameProvider, type Frame, type FrameProvider, type FrameSpace } from '../src/core/frames.js'

const KIB = 1024
const MIB = 1024 * KIB

/** Pages of one file that have the given frames, by index. */
function spaceOf(pageSize: number, frames: Readonly<Record<number, Frame>> = {}): FrameSpace {
  return { file: 1, pageSize, get: (index) => (frames[index] === undefined ? undefined : { frame: frames[index] }) }
}

/** A frame for a page without neighbors. */
function allocate(provider: FrameProvider, pageSize = 4096): Frame | undefined {
  return provider.allocate(spaceOf(pageSize), 0)
}

/** A frame for a page whose only neighbor with a frame lies before or after it. */
function allocateBeside(provider: FrameProvider, neighbor: Frame, direction: 1 | -1, pageSize = 4096): Frame {
  return provider.allocate(spaceOf(pageSize, { 10: neighbor }), 10 + direction)!
}

function all(frames: FrameProvider, pageSize: number): Frame[] {
  const taken: Frame[] = []
  for (;;) {
    const frame = allocate(frames, pageSize)
    if (frame === undefined) return taken
    taken.push(frame)
  }
}

describe('slab frames', () => {
  it('slab frames take at most the capacity', () => {
    const frames = createSlabFrameProvider(2 * MIB)
    expect(all(frames, 4096)).toHaveLength((2 * MIB) / 4096)
    expect(frames.usedBytes).toBe(frames.capacityBytes)
    expect(frames.capacityBytes).toBe(2 * MIB)
  })

  it('slab frames round the capacity down to whole slabs', () => {
    expect(createSlabFrameProvider(2 * MIB + 5).capacityBytes).toBe(2 * MIB)
    expect(createSlabFrameProvider(100_000).capacityBytes).toBe(64 * KIB)
    expect(createSlabFrameProvider(64 * KIB).capacityBytes).toBe(64 * KIB)
  })

  it('slab frames lie next to each other for neighboring pages, in either direction', () => {
    const frames = createSlabFrameProvider(64 * KIB)
    const first = allocate(frames)!
    const second = allocateBeside(frames, first, 1)
    const third = allocateBeside(frames, second, 1)
    expect(second.bytes.buffer).toBe(first.bytes.buffer)
    expect(second.bytes.byteOffset).toBe(first.bytes.byteOffset + 4096)
    expect(third.bytes.byteOffset).toBe(second.bytes.byteOffset + 4096)
    frames.free(first)
    expect(allocateBeside(frames, second, -1).bytes.byteOffset).toBe(first.bytes.byteOffset)
  })

  it('slab frames lie anywhere when the place beside the neighbor is taken or outside the slab', () => {
    const frames = createSlabFrameProvider(64 * KIB)
    const first = allocate(frames)!
    allocateBeside(frames, first, 1)
    const other = allocateBeside(frames, first, 1)
    expect(other.bytes.byteOffset).not.toBe(first.bytes.byteOffset)
    expect(allocateBeside(frames, first, -1)).toBeDefined()
    // A frame of another size is no neighbor.
    const pair = createSlabFrameProvider(2 * MIB)
    expect(allocateBeside(pair, allocate(pair)!, 1, 8192).bytes).toHaveLength(8192)
  })

  it('slab frames are zeroed at each allocation', () => {
    const frames = createSlabFrameProvider(64 * KIB)
    const frame = allocate(frames)!
    frame.bytes.fill(7)
    frames.free(frame)
    for (const again of all(frames, 4096)) expect(again.bytes.every((byte) => byte === 0)).toBe(true)
  })

  it('frames of different sizes come from different slabs', () => {
    const frames = createSlabFrameProvider(3 * MIB)
    const small = allocate(frames)!
    const large = allocate(frames, 65_536)!
    const medium = allocate(frames, 16_384)!
    expect(new Set([small, large, medium].map((frame) => frame.bytes.buffer)).size).toBe(3)
    expect(frames.usedBytes).toBe(4096 + 65_536 + 16_384)
    // Three slabs are all there is, and each has a size.
    expect(allocate(frames, 8192)).toBeUndefined()
    expect(allocate(frames, 16_384)).toBeDefined()
  })

  it('frames of an empty slab become free for pages of another size', () => {
    const frames = createSlabFrameProvider(64 * KIB)
    const taken = all(frames, 4096)
    expect(taken).toHaveLength(16)
    for (const frame of taken.slice(1)) frames.free(frame)
    expect(allocate(frames, 65_536)).toBeUndefined()
    frames.free(taken[0]!)
    expect(frames.usedBytes).toBe(0)
    expect(allocate(frames, 65_536)!.bytes).toHaveLength(65_536)
  })

  it('slab frames tell whether a run could be allocated if other frames were freed', () => {
    const frames = createSlabFrameProvider(2 * MIB)
    const could = (count: number, kept: readonly Frame[], pageSize = 4096): boolean =>
      frames.couldAllocateRun(pageSize, count, (frame) => !kept.includes(frame))
    expect([512, 513].map((count) => could(count, []))).toEqual([true, false])
    const taken = all(frames, 4096)
    expect([could(1, taken), could(256, []), could(512, []), could(513, [])]).toEqual([false, true, true, false])
    // One frame stays in use in each of the two slabs.
    const kept = [taken[3]!, taken[256 + 128]!]
    expect([252, 253].map((count) => could(count, kept))).toEqual([true, false])
    expect([could(1, kept.slice(1), 65_536), could(1, kept, 65_536)]).toEqual([true, false])
  })

  it('a slab frame cannot be freed twice', () => {
    const frames = createSlabFrameProvider(64 * KIB)
    const frame = allocate(frames)!
    frames.free(frame)
    expect(() => frames.free(frame)).toThrow('free of a frame that is not in use')
  })
})
