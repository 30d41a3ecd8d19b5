import { describe, expect, it } from 'vitest'
import { CacheFullError, ClosedError, PastEndError, PinConflictError } from '../src/index.js'
import { bytes, gate, localSpace, never, PAGE, turns } from './support/local.js'

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

  it('fails with a PastEndError when the space is cut while it copies a page', async () => {
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

  it('does not move a copy under a pin: of two pins that do not fit, one is a PinConflictError', async () => {
    const { space } = localSpace(16)
    const mapping = space.mmap({ flags: 'private' })
    // Out of order, so that the copies lie elsewhere at first.
    for (const page of [1, 5, 0, 3]) await mapping.write(page * PAGE, bytes(page + 1))
    const pins = await Promise.allSettled([mapping.pin(0, 2 * PAGE, 'write'), mapping.pin(0, 10 * PAGE, 'write')])
    const made = pins.flatMap((pin) => (pin.status === 'fulfilled' ? [pin.value] : []))
    const refused = pins.flatMap((pin) => (pin.status === 'rejected' ? [pin.reason as Error] : []))
    for (const reason of refused) expect(reason).toBeInstanceOf(PinConflictError)
    expect(made.length).toBeGreaterThan(0)
    for (const [i, pin] of made.entries()) {
      pin.bytes[PAGE] = 50 + i
      expect(await mapping.read(PAGE, 1)).toEqual(bytes(50 + i))
      pin.release()
    }
  })

  it('does not move a copy that was pinned while a write waited for room', async () => {
    const { space } = localSpace(8)
    const mapping = space.mmap({ flags: 'private' })
    const writing = mapping.write(0, bytes(1))
    const pinned = await mapping.pin(0, 2 * PAGE, 'write')
    await writing
    pinned.bytes[0] = 7
    await mapping.write(1, bytes(8))
    expect(await mapping.read(0, 2)).toEqual(bytes(7, 8))
    expect(pinned.bytes[1]).toBe(8)
    pinned.release()
  })

  it.each(['releasing a pin', 'munmap', 'unmapMappingRange with evenCows'])(
    'makes room at once for who waits: %s',
    async (by) => {
      const { ops, space } = localSpace(64, { cacheBytes: 16 * PAGE, faultTimeoutMs: 1000 })
      const mapping = space.mmap({ flags: 'private' })
      const shared = space.mmap()
      const pinned = await mapping.pin(0, 15 * PAGE, 'write')
      if (by === 'releasing a pin') space.unmapMappingRange(0, 0, { evenCows: true })
      // The last frame, in use by a hook that hangs: it is neither free nor held.
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
