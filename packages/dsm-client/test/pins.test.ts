import { describe, expect, it } from 'vitest'
import { bytes, gate, localSpace, PAGE } from './support/local.js'

describe('a pin of several pages', () => {
  it('a pin of several pages is one contiguous range of memory, aligned like its offset', async () => {
    const { ops, space } = localSpace()
    ops.stored.set([1, 2], 2 * PAGE - 1)
    const mapping = space.mmap()
    // Out of order, so that the frames are not contiguous at first.
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

  it('a pin of several pages rejects with PinConflictError if a live pin prevents contiguous frames, but not within a live pin', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    for (const page of [3, 1, 2]) await mapping.read(page * PAGE, 1)
    const one = await mapping.pin(PAGE, 1, 'read')
    const conflict = { name: 'PinConflictError', path: 'address space', offset: 0, length: 3 * PAGE }
    await expect(mapping.pin(0, 3 * PAGE, 'read')).rejects.toMatchObject(conflict)
    one.release()
    const all = await mapping.pin(0, 3 * PAGE, 'read')
    const part = await mapping.pin(PAGE, PAGE, 'read')
    expect(part.bytes.byteOffset).toBe(all.bytes.byteOffset + PAGE)
    part.release()
    all.release()
  })

  it('a pin of several pages rejects with CacheFullError if it is larger than the cache', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const full = { name: 'CacheFullError', code: 'ERR_CACHE_FULL', cacheBytes: 16 * PAGE }
    await expect(space.mmap().pin(0, 17 * PAGE, 'read')).rejects.toMatchObject(full)
  })

  it('a pin of several pages can take the whole cache, even if other pages fill it', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE })
    const mapping = space.mmap()
    for (let page = 20; page < 40; page++) await mapping.write(page * PAGE, bytes(1))
    const pinned = await mapping.pin(0, 16 * PAGE, 'write')
    pinned.release()
    for (let page = 20; page < 40; page++) expect(await mapping.read(page * PAGE, 1)).toEqual(bytes(1))
  })

  it('a pin of several pages leaves nothing behind if it fails or is aborted', async () => {
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
  it('a mapping reads into a pin and writes from a pin of the same pages without a deadlock', async () => {
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
    // An eviction waits for the pin.
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
  it('tryRead and tryWrite succeed at once if the client has access to all pages, and return false otherwise', async () => {
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
