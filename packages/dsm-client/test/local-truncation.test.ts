import { describe, expect, it } from 'vitest'
import { BusyError, ClosedError, PastEndError } from '../src/index.js'
import { bytes, gate, localSpace, never, PAGE, turns } from './support/local.js'

describe('truncation of an address space', () => {
  it('a truncation of an address space drops pages beyond the new end, dirty or not, and reads there reject with PastEndError', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(3 * PAGE, bytes(5))
    await space.truncate(PAGE)
    const pastEnd = { name: 'PastEndError', path: 'address space', offset: 3 * PAGE, size: PAGE }
    await expect(mapping.read(3 * PAGE, 1)).rejects.toMatchObject(pastEnd)
    await mapping.msync()
    expect(ops.stored[3 * PAGE]).toBe(0)
  })

  it('a truncation of an address space zeroes the rest of the last page', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1, 2, 3))
    await space.truncate(2)
    await space.truncate(PAGE)
    expect(await mapping.read(0, 3)).toEqual(bytes(1, 2, 0))
  })

  it('hazard: truncate then re-extend while a fault waits: the older bytes of the fault are not used', async () => {
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

  it('a truncation of an address space drops private copies (even_cows), and waits for pins of the pages themselves', async () => {
    const { space } = localSpace()
    const shared = space.mmap()
    const mapping = space.mmap({ flags: 'private' })
    const pinned = await shared.pin(PAGE, 1, 'read')
    await mapping.write(PAGE, bytes(5))
    const cutting = space.truncate(PAGE)
    expect(await Promise.race([cutting, never()])).toBe('waits')
    await expect(mapping.read(PAGE, 1)).rejects.toThrow(PastEndError)
    pinned.release()
    await cutting
    await space.truncate(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })

  it('a truncation of an address space drops pinned bytes, which do not appear when the address space grows again', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    const pinned = await mapping.pin(PAGE, 1, 'write')
    pinned.bytes[0] = 9
    const cutting = space.truncate(PAGE)
    const growing = space.truncate(8 * PAGE)
    await never(5)
    expect(space.size).toBe(PAGE)
    pinned.release()
    await cutting
    await growing
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
    await mapping.msync()
    expect(ops.stored[PAGE]).toBe(0)
  })

  it('a truncation of an address space rejects with BusyError if pins do not end, and drops the pinned bytes when they do', async () => {
    const { space } = localSpace(8, { faultTimeoutMs: 50 })
    const mapping = space.mmap()
    const pinned = await mapping.pin(PAGE, 1, 'write')
    pinned.bytes[0] = 9
    await expect(space.truncate(PAGE)).rejects.toMatchObject({ name: 'BusyError', path: 'address space', offset: PAGE })
    expect(space.size).toBe(PAGE)
    await expect(space.truncate(8 * PAGE)).rejects.toThrow(BusyError)
    expect(space.size).toBe(PAGE)
    pinned.release()
    await space.truncate(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })

  it('a truncation of an address space waits for an earlier truncation, and does not drop bytes that are written after a growth', async () => {
    const { ops, space } = localSpace(2)
    const mapping = space.mmap()
    const { promise, open } = gate()
    ops.onNoPage = ({ index }) => (index === 0 ? promise : Promise.resolve())
    const cutting = space.truncate(100)
    const writing = space.truncate(2 * PAGE).then(() => mapping.write(PAGE, bytes(7)))
    await never(5)
    open()
    await writing
    await cutting
    await turns()
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(7))
  })

  it('a truncation of an address space waits for writes in progress, so that their bytes do not return', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(PAGE, bytes(9))
    const { promise, open } = gate()
    ops.onWrite = () => promise
    const syncing = mapping.msync()
    const cutting = space.truncate(PAGE)
    expect(await Promise.race([cutting, never()])).toBe('waits')
    open()
    await cutting
    await syncing
    // The program also truncates its own storage before it grows the address space.
    ops.stored.fill(0, PAGE)
    await space.truncate(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })

  it('a truncation of an address space changes nothing if the new last page cannot be read', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(PAGE, bytes(9))
    ops.failure = new Error('EIO')
    await expect(space.truncate(100)).rejects.toThrow('EIO')
    ops.failure = undefined
    expect(space.size).toBe(8 * PAGE)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(9))
  })

  it('a truncation of an address space can be aborted by its signal, even in the queue', async () => {
    const { space } = localSpace()
    const pinned = await space.mmap().pin(PAGE, 1, 'read')
    const first = space.truncate(PAGE)
    const abort = new AbortController()
    const second = space.truncate(0, { signal: abort.signal })
    abort.abort()
    await expect(second).rejects.toThrow('aborted')
    pinned.release()
    await first
    await turns()
    expect(space.size).toBe(PAGE)
  })

  it('a truncation of an address space rejects with ClosedError when the address space closes', async () => {
    const { space } = localSpace()
    const pinned = await space.mmap().pin(PAGE, 1, 'write')
    const cutting = space.truncate(PAGE)
    const refused = expect(cutting).rejects.toThrow(ClosedError)
    await turns()
    await space.close()
    await refused
    pinned.release()
  })
})
