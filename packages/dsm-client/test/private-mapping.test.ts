import { describe, expect, it } from 'vitest'
import { CacheFullError, ClosedError, PastEndError, PinConflictError } from '../src/index.js'
import { bytes, gate, localSpace, never, PAGE, turns } from './support/local.js'

describe('a private mapping', () => {
  it('a private mapping shows the file until the first write to a page, for each page separately', async () => {
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

  it('a private mapping is never written back', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    await mapping.write(0, bytes(9))
    await mapping.msync()
    await mapping.munmap()
    await space.close()
    expect(ops.stored[0]).toBe(0)
    expect(ops.takeCalls()).toEqual(['noPage 0 read'])
  })

  it('a private mapping keeps its copies when the cache evicts pages, and counts them toward the cache', async () => {
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

  it('a private mapping can be pinned, with its copies in contiguous frames', async () => {
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

  it('a private mapping keeps the frame of a pinned copy that a truncation drops', async () => {
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

  it('a private mapping rejects with PastEndError if a truncation removes a page while it is copied', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    const { promise, open } = gate()
    ops.hold = promise
    const writing = mapping.write(PAGE - 1, bytes(1, 2))
    const refused = expect(writing).rejects.toThrow(PastEndError)
    await turns()
    const cutting = space.truncate(PAGE)
    ops.hold = undefined
    open()
    await refused
    await cutting
    await space.truncate(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })

  it('a private mapping does not move a copy under a live pin for another pin, which rejects with PinConflictError', async () => {
    const { ops, space } = localSpace(16)
    const mapping = space.mmap({ flags: 'private' })
    for (const page of [9, 8]) await mapping.write(page * PAGE, bytes(page))
    const { promise, open } = gate()
    ops.onNoPage = ({ index }) => (index === 0 ? promise : Promise.resolve())
    const pinning = mapping.pin(0, 10 * PAGE, 'write')
    const refused = expect(pinning).rejects.toThrow(PinConflictError)
    await turns()
    const pinned = await mapping.pin(9 * PAGE, PAGE, 'write')
    open()
    await refused
    pinned.bytes[1] = 7
    expect(await mapping.read(9 * PAGE, 2)).toEqual(bytes(9, 7))
    pinned.release()
  })

  it('a private mapping does not move a copy under a pin that began while a write to the copy waited for room', async () => {
    const { ops, space } = localSpace(64, { cacheBytes: 16 * PAGE, faultTimeoutMs: 2000 })
    const shared = space.mmap()
    const other = space.mmap({ flags: 'private' })
    for (let page = 20; page < 34; page++) await other.write(page * PAGE, bytes(1))
    const fill = gate()
    const upgrade = gate()
    ops.onNoPage = () => fill.promise
    ops.onWpPage = () => upgrade.promise
    const mapping = space.mmap({ flags: 'private' })
    const pinning = mapping.pin(0, PAGE, 'write')
    await turns()
    const sharedWriting = shared.write(0, bytes(9))
    const writing = mapping.write(0, bytes(1))
    await turns()
    fill.open()
    const pinned = await pinning
    expect(await Promise.race([writing, never()])).toBe('waits')
    // Only the frame of the shared page can become free, once the page is written back.
    upgrade.open()
    await sharedWriting
    await writing
    pinned.bytes[1] = 7
    expect(pinned.bytes[0]).toBe(1)
    expect(await mapping.read(0, 2)).toEqual(bytes(1, 7))
    pinned.release()
  })

  it('a private mapping makes a pin reject at once with CacheFullError if its copies leave no run of frames', async () => {
    const { space } = localSpace(64, { cacheBytes: 16 * PAGE, faultTimeoutMs: 60_000 })
    const shared = space.mmap()
    const mapping = space.mmap({ flags: 'private' })
    // Every third frame holds a copy.
    for (let page = 0; page < 15; page++) {
      if (page % 3 === 2) await mapping.write(page * PAGE, bytes(1))
      else await shared.read((32 + page) * PAGE, 1)
    }
    await expect(shared.pin(50 * PAGE, 8 * PAGE, 'read')).rejects.toThrow(CacheFullError)
    await expect(mapping.pin(50 * PAGE, 8 * PAGE, 'write')).rejects.toThrow(CacheFullError)
    await mapping.munmap()
    const pin = await shared.pin(50 * PAGE, 8 * PAGE, 'read')
    pin.release()
  })

  it.each(['releasing a pin', 'munmap', 'unmapMappingRange with evenCows'])(
    'a private mapping frees frames at once for waiting accesses: %s',
    async (by) => {
      const { ops, space } = localSpace(64, { cacheBytes: 16 * PAGE, faultTimeoutMs: 1000 })
      const mapping = space.mmap({ flags: 'private' })
      const shared = space.mmap()
      const pinned = await mapping.pin(0, 15 * PAGE, 'write')
      if (by === 'releasing a pin') space.unmapMappingRange(0, 0, { evenCows: true })
      // A hook that hangs uses the last frame, which is neither free nor pinned.
      ops.onNoPage = ({ index }) => (index === 40 ? new Promise(() => {}) : Promise.resolve())
      const hung = shared.read(40 * PAGE, 1)
      const ended = expect(hung).rejects.toThrow(ClosedError)
      const waiting = shared.read(50 * PAGE, 1)
      expect(await Promise.race([waiting, never()])).toBe('waits')
      if (by === 'munmap') await mapping.munmap()
      if (by === 'unmapMappingRange with evenCows') space.unmapMappingRange(0, 15 * PAGE, { evenCows: true })
      pinned.release()
      expect(await waiting).toEqual(bytes(0))
      await space.close()
      await ended
    }
  )
})
