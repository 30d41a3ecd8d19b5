import { describe, expect, it } from 'vitest'
import { BusyError, CacheFullError, InvalidArgumentError, PastEndError, PinConflictError } from '../src/index.js'
import {
  AddressSpacePages,
  PageTable,
  PrivateCopies,
  createSlabFrameProvider,
  zeroCounters,
  type PageBackend
} from '../src/core/index.js'
import { bytes, gate, localSpace, PAGE } from './support/local.js'

const never = (ms = 20): Promise<string> => new Promise((resolve) => setTimeout(() => resolve('waits'), ms))

describe('hooks of an address space', () => {
  it('fill pages when they are first read, and make them writable when they are first written', async () => {
    const { ops, space } = localSpace()
    ops.stored.set([7, 8], PAGE)
    const mapping = space.mmap()
    expect(await mapping.read(PAGE, 2)).toEqual(bytes(7, 8))
    await mapping.write(PAGE, bytes(9))
    await mapping.write(2 * PAGE, bytes(1))
    expect(await mapping.read(PAGE, 2)).toEqual(bytes(9, 8))
    expect(ops.takeCalls()).toEqual(['noPage 1 read', 'wpPage 1', 'noPage 2 write'])
  })

  it('are asked once for all that wait for a page, and one caller that gives up does not spoil it for the others', async () => {
    const { ops, space } = localSpace()
    const { promise, open } = gate()
    ops.hold = promise
    const mapping = space.mmap()
    const abort = new AbortController()
    const first = mapping.read(0, 1, { signal: abort.signal })
    const second = mapping.read(0, 1)
    abort.abort()
    await expect(first).rejects.toThrow('aborted')
    open()
    expect(await second).toEqual(bytes(0))
    expect(ops.takeCalls()).toEqual(['noPage 0 read'])
  })

  it('reject the access with what they reject with, and are asked again by the next', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    ops.failure = new Error('no such block')
    await expect(mapping.read(0, 1)).rejects.toThrow('no such block')
    ops.failure = undefined
    expect(await mapping.read(0, 1)).toEqual(bytes(0))
  })

  it('may throw at once', async () => {
    const { space } = localSpace(1, {
      ops: {
        noPage: () => {
          throw new Error('at once')
        },
        wpPage: () => Promise.resolve(),
        writePages: () => Promise.resolve()
      }
    })
    await expect(space.mmap().read(0, 1)).rejects.toThrow('at once')
  })

  it('get dirty bytes on msync; a failed write keeps the page and reports it', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    ops.failure = new Error('EIO')
    await expect(mapping.msync()).rejects.toThrow('EIO')
    ops.failure = undefined
    await mapping.msync()
    expect(ops.stored[0]).toBe(1)
    ops.takeCalls()
    await mapping.msync()
    expect(ops.takeCalls()).toEqual([])
  })

  it('are used to make room: more pages than frames', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap()
    for (let page = 0; page < 64; page++) await mapping.write(page * PAGE, bytes(page))
    for (let page = 0; page < 64; page++) expect(await mapping.read(page * PAGE, 1)).toEqual(bytes(page))
  })
})

describe('unmapMappingRange', () => {
  it('makes the next access fault again and keeps dirty bytes in the cache (kernel: unmap_mapping_range)', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    await mapping.read(PAGE, 1)
    ops.takeCalls()
    space.unmapMappingRange(0, 0)
    expect(mapping.tryRead(0, new Uint8Array(1))).toBe(false)
    await mapping.msync()
    expect(ops.takeCalls()).toEqual(['write 0'])
    expect(ops.stored[0]).toBe(5)
  })

  it('rounds out to pages, and leaves private copies alone unless even_cows', async () => {
    const { space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    await mapping.write(PAGE, bytes(5))
    space.unmapMappingRange(PAGE + 10, 1)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(5))
    space.unmapMappingRange(PAGE + 10, 1, { evenCows: true })
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })
})

describe('evictMappingRange', () => {
  it('writes dirty pages back, waits, and drops them', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    ops.takeCalls()
    await space.evictMappingRange(0, 0)
    expect(ops.stored[0]).toBe(5)
    ops.stored[0] = 6
    expect(await mapping.read(0, 1)).toEqual(bytes(6))
    expect(ops.takeCalls()).toEqual(['write 0', 'noPage 0 read'])
  })

  it('rejects and keeps the pages when writing failed: it never discards bytes', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    ops.failure = new Error('EIO')
    await expect(space.evictMappingRange(0, 0)).rejects.toThrow('EIO')
    ops.failure = undefined
    await mapping.msync()
    expect(ops.stored[0]).toBe(5)
  })

  it('hazard: fault between unmap and evict: it waits, and does not map the page that is about to go', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    const { promise, open } = gate()
    ops.hold = promise
    const evicting = space.evictMappingRange(0, 0)
    const reading = mapping.read(0, 1)
    expect(await Promise.race([reading, never()])).toBe('waits')
    ops.hold = undefined
    open()
    await evicting
    // It was written back as 5 and dropped; somebody changes it before it comes back.
    ops.stored[0] = 6
    expect(await reading).toEqual(bytes(6))
    expect(ops.takeCalls()).toEqual(['noPage 0 write', 'write 0', 'noPage 0 read'])
  })

  it('hazard: refill between evict and free: a new fault gets a frame of its own', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    const all = [space.evictMappingRange(0, 0), mapping.write(1, bytes(6)), space.evictMappingRange(0, 0)]
    await Promise.all(all)
    expect(await mapping.read(0, 2)).toEqual(bytes(5, 6))
  })

  it('waits for pins, and is a BusyError when they do not end', async () => {
    const { ops, space } = localSpace(8, { faultTimeoutMs: 50 })
    const mapping = space.mmap()
    const pinned = await mapping.pin(0, 1, 'write')
    await expect(space.evictMappingRange(0, 0)).rejects.toThrow(BusyError)
    pinned.bytes[0] = 9
    pinned.release()
    await space.evictMappingRange(0, 0)
    expect(ops.stored[0]).toBe(9)
  })
})

describe('truncation of an address space', () => {
  it('drops what is beyond, dirty or not, and reads beyond the end are PastEndErrors', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(3 * PAGE, bytes(5))
    await space.truncate(PAGE)
    await expect(mapping.read(3 * PAGE, 1)).rejects.toThrow(PastEndError)
    await mapping.msync()
    expect(ops.stored[3 * PAGE]).toBe(0)
  })

  it('zeroes the rest of the last page', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1, 2, 3))
    await space.truncate(2)
    await space.truncate(PAGE)
    expect(await mapping.read(0, 3)).toEqual(bytes(1, 2, 0))
  })

  it('hazard: truncate then re-extend while a fault waits: what it brings is from before, and is not used', async () => {
    const { ops, space } = localSpace()
    ops.stored[PAGE] = 7
    const mapping = space.mmap()
    const { promise, open } = gate()
    ops.hold = promise
    const reading = mapping.read(PAGE, 1)
    await never(5)
    await space.truncate(0)
    await space.truncate(8 * PAGE)
    ops.stored[PAGE] = 0
    ops.hold = undefined
    open()
    expect(await reading).toEqual(bytes(0))
    expect(ops.takeCalls()).toEqual(['noPage 1 read', 'noPage 1 read'])
  })

  it('takes private copies with it (even_cows), also one that a pinned page gave in between', async () => {
    const { space } = localSpace()
    const shared = space.mmap()
    const mapping = space.mmap({ flags: 'private' })
    const pinned = await shared.pin(PAGE, 1, 'read')
    await mapping.write(PAGE, bytes(5))
    await space.truncate(PAGE)
    await space.truncate(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
    pinned.release()
  })
})

describe('a private mapping', () => {
  it('follows the file until it is written to, page by page', async () => {
    const { space } = localSpace()
    const shared = space.mmap()
    const mapping = space.mmap({ flags: 'private' })
    await shared.write(0, bytes(1))
    expect(await mapping.read(0, 1)).toEqual(bytes(1))
    await shared.write(0, bytes(2))
    expect(await mapping.read(0, 1)).toEqual(bytes(2))
    await mapping.write(1, bytes(9))
    await shared.write(0, bytes(3, 4))
    await shared.write(PAGE, bytes(5))
    expect(await mapping.read(0, 2)).toEqual(bytes(2, 9))
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(5))
    expect(await shared.read(0, 2)).toEqual(bytes(3, 4))
  })

  it('leaves no memory behind when its file is given up without it', () => {
    const table = new PageTable(createSlabFrameProvider(65_536), {} as PageBackend, zeroCounters())
    const pages = new AddressSpacePages({ file: 1, path: '/a', pageSize: PAGE })
    table.add(pages)
    const copies = new PrivateCopies(table)
    pages.privateCopies.add(copies)
    const [frame] = table.resident.takeAnonymous(PAGE, 1, () => {})!
    copies.add(0, frame!, new Uint8Array(PAGE))
    table.remove(1, new Error('the session is gone'))
    expect(table.resident.usedBytes).toBe(0)
  })

  it('is never written back', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    await mapping.write(0, bytes(9))
    await mapping.msync()
    await mapping.munmap()
    await space.close()
    expect(ops.stored[0]).toBe(0)
    expect(ops.takeCalls()).toEqual(['noPage 0 read'])
  })

  it('keeps its copies when the cache drops its pages, and counts them against the cache', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap({ flags: 'private' })
    for (let page = 0; page < 12; page++) await mapping.write(page * PAGE, bytes(page + 1))
    for (let page = 20; page < 60; page++) await mapping.read(page * PAGE, 1)
    for (let page = 0; page < 12; page++) expect(await mapping.read(page * PAGE, 1)).toEqual(bytes(page + 1))
    const more = Array.from({ length: 8 }, (_, i) => mapping.write((20 + i) * PAGE, bytes(1)))
    const outcomes = await Promise.allSettled(more)
    expect(outcomes.some(({ status }) => status === 'rejected')).toBe(true)
    for (const each of outcomes) if (each.status === 'rejected') expect(each.reason).toBeInstanceOf(CacheFullError)
    await mapping.munmap()
    const again = space.mmap({ flags: 'private' })
    for (let page = 0; page < 12; page++) await again.write(page * PAGE, bytes(1))
  })

  it('can be pinned: its own pages next to each other', async () => {
    const { space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    await mapping.write(2 * PAGE, bytes(3))
    const pinned = await mapping.pin(PAGE + 100, 2 * PAGE, 'write')
    expect(pinned.bytes[PAGE - 100]).toBe(3)
    pinned.bytes[0] = 4
    expect(await mapping.read(PAGE + 100, 1)).toEqual(bytes(4))
    pinned.release()
    await expect(mapping.pin(0, 2 * PAGE, 'read')).rejects.toThrow(PinConflictError)
  })

  it('keeps the memory of a pinned copy that a truncation has taken', async () => {
    const { space } = localSpace(8, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap({ flags: 'private' })
    const pinned = await mapping.pin(PAGE, PAGE, 'write')
    pinned.bytes.fill(7)
    await space.truncate(PAGE)
    await space.truncate(8 * PAGE)
    const shared = space.mmap()
    for (let page = 0; page < 8; page++) await shared.write(page * PAGE, new Uint8Array(PAGE).fill(1))
    expect(new Set(pinned.bytes)).toEqual(new Set([7]))
    pinned.release()
  })
})

describe('pins over several pages', () => {
  it('are one piece of memory, congruent to the offset', async () => {
    const { ops, space } = localSpace()
    ops.stored.set([1, 2], 2 * PAGE - 1)
    const mapping = space.mmap()
    // Out of order, so that the frames lie elsewhere at first.
    for (const page of [2, 0, 1, 3]) await mapping.read(page * PAGE, 1)
    const pinned = await mapping.pin(10, 3 * PAGE, 'write')
    expect(pinned.bytes).toHaveLength(3 * PAGE)
    expect(pinned.bytes.byteOffset % 8).toBe(10 % 8)
    expect(pinned.bytes.subarray(2 * PAGE - 11, 2 * PAGE - 9)).toEqual(bytes(1, 2))
    pinned.bytes[0] = 5
    pinned.release()
    expect(await mapping.read(10, 1)).toEqual(bytes(5))
    await mapping.msync()
    expect(ops.stored[10]).toBe(5)
  })

  it('beside live pins, where they cannot be laid out: PinConflictError; inside one that is there: no conflict', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    for (const page of [3, 1, 2]) await mapping.read(page * PAGE, 1)
    const one = await mapping.pin(PAGE, 1, 'read')
    await expect(mapping.pin(0, 3 * PAGE, 'read')).rejects.toThrow(PinConflictError)
    one.release()
    const all = await mapping.pin(0, 3 * PAGE, 'read')
    const part = await mapping.pin(PAGE, PAGE, 'read')
    expect(part.bytes.byteOffset).toBe(all.bytes.byteOffset + PAGE)
    part.release()
    all.release()
  })

  it('larger than the cache: CacheFullError', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    await expect(space.mmap().pin(0, 17 * PAGE, 'read')).rejects.toThrow(CacheFullError)
  })

  it('of the whole cache, when other pages fill it', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap()
    for (let page = 20; page < 40; page++) await mapping.write(page * PAGE, bytes(1))
    const pinned = await mapping.pin(0, 16 * PAGE, 'write')
    pinned.release()
    for (let page = 20; page < 40; page++) expect(await mapping.read(page * PAGE, 1)).toEqual(bytes(1))
  })

  it('that are given up behind a page that was here at once hold none of their pages later', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    const { promise, open } = gate()
    ops.hold = promise
    const abort = new AbortController()
    const pin = mapping.pin(0, 2 * PAGE, 'write', { signal: abort.signal })
    abort.abort()
    await expect(pin).rejects.toThrow('aborted')
    open()
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
    // It waits for pins, and fails when they do not end.
    await space.evictMappingRange(0, 0)
  })

  it('leave nothing behind when they fail or are given up', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    ops.failure = new Error('EIO')
    await expect(mapping.pin(0, 3 * PAGE, 'read')).rejects.toThrow('EIO')
    ops.failure = undefined
    const { promise, open } = gate()
    ops.hold = promise
    const abort = new AbortController()
    const pinning = mapping.pin(0, 3 * PAGE, 'read', { signal: abort.signal })
    abort.abort()
    await expect(pinning).rejects.toThrow('aborted')
    ops.hold = undefined
    open()
    await space.evictMappingRange(0, 0)
    const pinned = await mapping.pin(0, 3 * PAGE, 'read')
    pinned.release()
  })
})

describe('hazard: read/write whose buffer maps the same file (self-deadlock)', () => {
  it('reads into a pin, and writes from one, of the same page and of others, without waiting for itself', async () => {
    const { space } = localSpace(8, { cacheBytes: 16 * PAGE, faultTimeoutMs: 2000 })
    const mapping = space.mmap()
    await mapping.write(PAGE, bytes(1, 2, 3, 4))
    const pinned = await mapping.pin(0, 2 * PAGE, 'write')
    await mapping.readInto(PAGE, pinned.bytes.subarray(0, 4))
    expect(pinned.bytes.subarray(0, 4)).toEqual(bytes(1, 2, 3, 4))
    await mapping.write(100, pinned.bytes.subarray(PAGE, PAGE + 2))
    await mapping.write(2 * PAGE - 1, pinned.bytes.subarray(0, 3))
    expect(await mapping.read(100, 2)).toEqual(bytes(1, 2))
    expect(await mapping.read(2 * PAGE - 1, 3)).toEqual(bytes(1, 2, 3))
    // While it is being evicted, whoever has it pinned still gets at it.
    const evicting = space.evictMappingRange(0, PAGE)
    pinned.release()
    await evicting
    const copy = space.mmap({ flags: 'private' })
    const own = await copy.pin(0, PAGE, 'write')
    await mapping.readInto(0, own.bytes)
    own.release()
  })
})

describe('tryRead and tryWrite', () => {
  it('write bytes that leave when half of the cache is dirty, and not the bytes before them', async () => {
    const { ops, space } = localSpace(9, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap()
    await mapping.write(8 * PAGE, bytes(1))
    await mapping.msync()
    for (let page = 0; page < 8; page++) await mapping.write(page * PAGE, bytes(1))
    expect(mapping.tryWrite(8 * PAGE, bytes(9))).toBe(true)
    await mapping.msync()
    expect(ops.stored[8 * PAGE]).toBe(9)
  })

  it('are done at once where access is here, over several pages, and refuse otherwise', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    const target = new Uint8Array(4)
    expect(mapping.tryRead(PAGE - 2, target)).toBe(false)
    await mapping.read(0, 2 * PAGE)
    expect(mapping.tryRead(PAGE - 2, target)).toBe(true)
    expect(mapping.tryWrite(PAGE - 2, bytes(1, 2, 3, 4))).toBe(false)
    await mapping.write(PAGE - 2, bytes(0, 0, 0, 0))
    expect(mapping.tryWrite(PAGE - 2, bytes(1, 2, 3, 4))).toBe(true)
    expect(mapping.tryRead(PAGE - 2, target)).toBe(true)
    expect(target).toEqual(bytes(1, 2, 3, 4))
    await mapping.msync()
    expect(ops.stored.subarray(PAGE - 2, PAGE + 2)).toEqual(bytes(1, 2, 3, 4))
  })
})

describe('bad input', () => {
  it.each([
    ['a negative start', { start: -1, length: 1 }],
    ['a fraction', { start: 0.5, length: 1 }],
    ['an overflow', { start: Number.MAX_SAFE_INTEGER, length: 2 }]
  ])('of the range calls: %s names the value', async (_, { start, length }) => {
    const { space } = localSpace()
    expect(() => space.unmapMappingRange(start, length)).toThrow(InvalidArgumentError)
    await expect(space.writeMappingRange(start, length)).rejects.toThrow(InvalidArgumentError)
    await expect(space.evictMappingRange(start, length)).rejects.toThrow(InvalidArgumentError)
  })

  it('of createAddressSpace and mmap names the value', () => {
    expect(() => localSpace(1, { pageSize: 5000 })).toThrow(/5000/)
    expect(() => localSpace(1, { size: -1 })).toThrow(/-1/)
    expect(() => localSpace(1, { cacheBytes: 10 })).toThrow(/10/)
    const { space } = localSpace()
    expect(() => space.mmap({ offset: 5 })).toThrow(/5/)
    expect(() => space.mmap({ length: 0 })).toThrow(InvalidArgumentError)
    expect(() => space.mmap({ flags: 'other' as never })).toThrow(/other/)
  })
})
