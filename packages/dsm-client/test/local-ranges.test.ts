import { describe, expect, it } from 'vitest'
import { bytes, gate, localSpace, never, PAGE, turns } from './support/local.js'

describe('unmapMappingRange', () => {
  it('unmapMappingRange makes the next access fault, and keeps dirty bytes in the cache (kernel: unmap_mapping_range)', async () => {
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

  it('unmapMappingRange keeps dirty bytes when the next access calls the hooks', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    space.unmapMappingRange(0, 0)
    expect(await mapping.read(0, 1)).toEqual(bytes(5))
    space.unmapMappingRange(0, 0)
    await mapping.write(1, bytes(6))
    expect(await mapping.read(0, 2)).toEqual(bytes(5, 6))
    expect(ops.takeCalls()).toEqual(['noPage 0 write', 'noPage 0 read', 'noPage 0 write'])
    await mapping.msync()
    expect(ops.stored.subarray(0, 2)).toEqual(bytes(5, 6))
  })

  it('unmapMappingRange keeps dirty bytes that are written back while the hook reads older ones', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    space.unmapMappingRange(0, 0)
    const { promise, open } = gate()
    ops.onNoPage = async ({ frames: [frame] }) => {
      await promise
      frame!.fill(0)
    }
    const reading = mapping.read(0, 1)
    await turns()
    await mapping.msync()
    open()
    expect(await reading).toEqual(bytes(5))
  })

  it('unmapMappingRange discards the result of a fault in progress, and repeats the fault', async () => {
    const { ops, space } = localSpace()
    ops.stored[0] = 1
    const mapping = space.mmap()
    const { promise, open } = gate()
    ops.onNoPage = async ({ frames: [frame] }) => {
      frame![0] = ops.stored[0]!
      ops.onNoPage = undefined
      await promise
    }
    const reading = mapping.read(0, 1)
    await turns()
    ops.stored[0] = 2
    space.unmapMappingRange(0, 0)
    open()
    expect(await reading).toEqual(bytes(2))
  })

  it('unmapMappingRange discards the result of an upgrade in progress, so that no unmapped page becomes writable', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.read(0, 1)
    const { promise, open } = gate()
    ops.onWpPage = () => promise
    const writing = mapping.write(1, bytes(9))
    await turns()
    ops.stored[0] = 2
    space.unmapMappingRange(0, 0)
    open()
    await writing
    expect(await mapping.read(0, 2)).toEqual(bytes(2, 9))
    expect(ops.takeCalls()).toEqual(['noPage 0 read', 'wpPage 0', 'noPage 0 write'])
  })

  it('unmapMappingRange rounds the range out to pages, and keeps private copies unless evenCows is set', async () => {
    const { space } = localSpace()
    const mapping = space.mmap({ flags: 'private' })
    await mapping.write(PAGE, bytes(5))
    space.unmapMappingRange(PAGE + 10, 1)
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(5))
    space.unmapMappingRange(PAGE + 10, 1, { evenCows: true })
    expect(await mapping.read(PAGE, 1)).toEqual(bytes(0))
  })
})

describe('writeMappingRange', () => {
  it('writeMappingRange writes a page again that changes during its writeback, after that writeback', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(1))
    const first = gate()
    ops.hold = first.promise
    await space.writeMappingRange(0, 0)
    await mapping.write(0, bytes(2))
    const second = space.writeMappingRange(0, 0)
    expect(await Promise.race([second, never()])).toBe('waits')
    expect(ops.stored[0]).toBe(0)
    const held = gate()
    ops.hold = held.promise
    first.open()
    await second
    expect(ops.stored[0]).toBe(1)
    held.open()
    await never()
    expect(ops.stored[0]).toBe(2)
    expect(ops.takeCalls()).toEqual(['noPage 0 write', 'write 0', 'write 0'])
  })
})

describe('evictMappingRange', () => {
  it('evictMappingRange writes dirty pages back, waits, and drops the pages', async () => {
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

  it('evictMappingRange rejects and keeps the pages if a write fails, so that no bytes are lost', async () => {
    const { ops, space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    ops.failure = new Error('EIO')
    await expect(space.evictMappingRange(0, 0)).rejects.toThrow('EIO')
    ops.failure = undefined
    await mapping.msync()
    expect(ops.stored[0]).toBe(5)
  })

  it('hazard: fault between unmap and evict: the fault waits, and does not map the page that is to go', async () => {
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
    // The page was written back as 5 and dropped. The stored byte changes before the next fault.
    ops.stored[0] = 6
    expect(await reading).toEqual(bytes(6))
    expect(ops.takeCalls()).toEqual(['noPage 0 write', 'write 0', 'noPage 0 read'])
  })

  it('hazard: refill between evict and free: a new fault gets another frame', async () => {
    const { space } = localSpace()
    const mapping = space.mmap()
    await mapping.write(0, bytes(5))
    const all = [space.evictMappingRange(0, 0), mapping.write(1, bytes(6)), space.evictMappingRange(0, 0)]
    await Promise.all(all)
    expect(await mapping.read(0, 2)).toEqual(bytes(5, 6))
  })

  it('evictMappingRange waits for pins, and rejects with BusyError if they do not end', async () => {
    const { ops, space } = localSpace(8, { faultTimeoutMs: 50 })
    const mapping = space.mmap()
    const pinned = await mapping.pin(0, 1, 'write')
    const busy = { name: 'BusyError', code: 'ERR_BUSY', path: 'address space', offset: 0 }
    await expect(space.evictMappingRange(0, 0)).rejects.toMatchObject(busy)
    pinned.bytes[0] = 9
    pinned.release()
    await space.evictMappingRange(0, 0)
    expect(ops.stored[0]).toBe(9)
  })
})
